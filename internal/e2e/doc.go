// Package e2e runs the built program on real targets and reads the databases it
// writes. It holds nothing but tests, and imports none of the packages that the
// program is made of: what it knows of them is the command line and the SQL.
package e2e
