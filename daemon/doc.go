// Package daemon turns watched folders into finished files, and loses none.
//
// The way of a file:
//
//	watch.go   finds it (inotify makes it fast, a periodic scan makes it sure)
//	settle.go  waits until it has been quiet, so that no half-copied file is taken
//	ledger.go  notes it in the table files, in one transaction with
//	queue.go   the River job that will do the work
//	worker.go  claims the output path, calls the Processor, records the end
//	recover.go after a crash puts interrupted files back and removes their temporaries
//
// One process at a time owns a state folder, by a lock on a file in it. The
// folder holds one SQLite database with the ledger and River's tables; one
// connection writes it, so that transactions of both are the same.
//
// The ledger is what makes work happen once. A file is known by its path, size
// and modification time: an unchanged file that is done or has failed is never
// taken again, and a changed one is. Before an output is written, its path is
// claimed: a path at which something lies that this ledger did not write is
// never claimed, so a foreign file is never overwritten; and after a crash
// between the output's rename and the ledger's note, the claim is what allows
// the same job to write there again.
//
// Absence is never acted upon: a vanished file or mount is only not worked on.
//
// [Daemon.Run] starts every goroutine and waits for each. The [Processor] is
// the caller's and does the real work; it is called from as many goroutines as
// there are workers. [Ledger] can be used alone, without River and without
// watching, by a command that processes files once.
package daemon
