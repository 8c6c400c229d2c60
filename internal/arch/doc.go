// Package arch holds the house to its rules, as tests: who may import whom, how long a file or a function may be, and
// what may live at package level. A failure prints the reason of the rule it met. There is no code here to call.
//
// A rule that has to give way gets a line in exceptions_test.go with its reason; an exception that nothing needs any
// more fails as well.
package arch
