"""Who somebody is: passwords and tokens; knows nothing of HTTP."""
