// Package daemon turns watched folders into finished files, and loses none.
//
// The way of a file:
//
//	watch.go   finds it (inotify makes it fast, a periodic scan makes it sure)
//	settle.go  waits until it has been quiet, so that no half-copied file is taken
//	open_files.go … and no other process has it open for writing
//	ledger.go  notes it in the table files, in one transaction with
//	queue.go   the River job that will do the work
//	content.go looks whether its content was done before, and copies that output
//	worker.go  claims the output path, calls the Processor, records the end
//	originals.go moves or deletes the original behind a good output, where that is asked for
//	recover.go after a crash puts interrupted files back and removes their temporaries
//
// A video goes through the same first three, and then through many jobs: its
// plan, one for each segment and pass, and the join.
//
//	video.go          the interface to who does the work, [Videos]
//	video_queue.go    the jobs: which there are, and in what order
//	video_worker.go   finds a job's step, does it, notes how it ended
//	video_step.go     watches over a step: progress, its input, room on the disk
//	video_active.go   the steps in work, and the folders they work in
//	video_ledger.go   the tables videos and segments, and their transitions
//	video_progress.go the lines on films in work
//	video_run.go      the same steps without a queue
//	room.go           the guard of the disks, for photos too
//
// The table segments says what is done, since River forgets finished jobs. The
// end of a step, its note and the jobs that follow from it are one
// transaction; in it the last segment of a pass, and no other, moves the video
// on. Each version of a video has its own run with its own work folder, and a
// step of a run that has gone changes nothing.
//
// People see and control the queue through a [Control]: listing, retrying,
// cancelling, pausing. A running daemon answers on a socket in the state folder
// with [Control.Handler]; a [Client] asks there, and [OpenControl] is for a
// folder without a daemon. Work on a file is cancelled with the cause
// errCancelled, and notes its own end.
//
//	control.go        what can be asked
//	control_socket.go the same over HTTP
//	queue_control.go  what of it is River's, and the photos in work
//	notice.go         who is told of a file's end, by an address or a command
//	notice_send.go    … and how
//	page.go           the page of package web and what it shows
//	page_queue.go     River's own
//	metrics.go        what is counted
//	metrics_queue.go  … and what is looked up for the metrics
//	watchdog.go       tells systemd that the daemon gets on
//	reload.go         a changed configuration
//	ledger_damage.go  a damaged database is moved aside and rebuilt
//
// With queue.url, ledger and queue lie in PostgreSQL, and [RunWorker] works for
// the daemon on other machines:
//
//	database.go        what the ledger needs because it has two databases
//	postgres.go        the connection, the tables and their versions
//	postgres_driver.go River in the ledger's transactions; fetching from several queues
//	cluster.go         who may take what, and the storage that all see
//	cluster_run.go     the daemon as the head of a cluster, and the worker
//	cluster_list.go    who there is
//	member.go          signs of life; taking over what the silent had in work
//	held.go            the jobs in work, and that only they are noted
//
// One process at a time owns a state folder, by a lock on a file in it. The
// folder holds one SQLite database with the ledger and River's tables, unless
// they are shared; one connection writes it, so that transactions of both are the same.
//
// The ledger is what makes work happen once. A file is known by its path, size
// and modification time: an unchanged file that is done or has failed is never
// taken again, and a changed one is. Before the work its content is hashed, once
// for each version: where that was done before, with the same settings, the
// output is copied. What was made with other settings is done again only where
// that is asked for (redo.go). Before an output is written, its path is
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
