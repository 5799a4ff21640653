DROP TABLE event_history;
DROP FUNCTION refuse_to_forget;
DROP TABLE event_progress;
DROP TABLE events;
