//go:build !chaos

// Package crash names the moments at which a process may die and the books must still balance. In the program that is shipped a
// point is nothing at all; in the one that is built for `make chaos-meter` it kills the process when its name is called.
package crash

// Point is a place to die; here it does nothing and costs nothing.
func Point(string) {}
