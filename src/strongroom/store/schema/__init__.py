"""The SQL schema: table definitions and the migrations that make them."""
