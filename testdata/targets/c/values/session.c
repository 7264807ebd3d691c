/* What main.c only has a declaration of. */
struct session {
	int id;
} a_session = {1};
