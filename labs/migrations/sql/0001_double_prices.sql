-- A change of data, on a table so large that it takes a moment.
SELECT pg_sleep(0.5);
UPDATE prices SET cents = cents * 2;
