// session.js: where the server sends a browser that may not see what it asked for: on to the page where one signs in.

location.replace('./');
