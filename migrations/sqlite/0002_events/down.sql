DROP TABLE event_history;
DROP TABLE event_progress;
DROP TABLE events;
