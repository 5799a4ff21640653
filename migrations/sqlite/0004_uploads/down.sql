DROP TABLE event_uploads;
DROP TABLE uploaders;
ALTER TABLE events DROP COLUMN upload_key;
