// Package confine does work in child processes, so that what crashes, hangs or
// eats memory there costs one piece of work and not the process.
//
// The way of a call:
//
//	pool.go    Pool.Do waits for a free child or starts one, and tries a call
//	           that crashed its child once more in a fresh one
//	child.go   the parent's view of one child: its process, its pipes, its end
//	message.go the frames on the pipes, bounded in size
//	serve.go   the child's side: Serve reads calls and hands them to a Service
//	failure.go an error on its way from the child to the parent
//	crash.go   how a child ended that gave no answer, and its last words
//	limits.go  what a child sets on itself, and what is watched from outside
//
// A child is the same program again, started with a subcommand that calls
// [Serve]. It is kept warm and serves one call at a time, over two pipes: its
// file 3 brings calls, its file 4 takes answers. Its standard output and error
// are for whatever native libraries print there and go line by line to the
// log, at debug.
//
// What a call means is the caller's: its kind, arguments and result are JSON.
// While it runs, the child may tell how far it is, and ask questions that the
// parent answers. An error keeps across the pipes its text, the system's error
// numbers in its chain, the errors that both sides know by name, and, where an
// answer of the parent's caused it, that very error.
//
// A child leads its own process group, dies with its parent, and leaves when
// its pipe of calls closes. Whoever gives up on a child kills its group and
// waits for its end. [Pool.Close] leaves no process and no goroutine behind.
package confine
