"""Programs run on other machines: a balance over several executors, each behind a lasting call of ExecuteMany."""
