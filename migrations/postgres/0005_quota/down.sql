DROP TABLE quota_spent;
