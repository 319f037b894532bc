-- Which run of the report's job computed a day last: when the run fails and is tried again, it goes on where it stopped.
CREATE TABLE sales_report_days (
  day date PRIMARY KEY,
  run text NOT NULL
);
