DROP TABLE playlists;
DROP TABLE templates;
DROP TABLE users;
