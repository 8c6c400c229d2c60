package contracts

// The compiler is pinned in package-lock.json and runs as JavaScript; after a change to src, run go generate and
// commit build with it.

//go:generate npm ci --ignore-scripts
//go:generate node compile.mjs
