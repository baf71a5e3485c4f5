// Package pipeline puts the stages in order for one file: decode, detect the
// faces, align each, restore it, check it, paste it back, write the copy.
//
// An Engine holds what is costly and shared: the restoring session, and a
// bounded pool of workers, each with its own detector and recognizer. Photo
// takes a worker for the time of one file. The guards stand here too: which
// faces are left as they were, and why, is said in the Report.
//
// The caller owns the session and closes it after the Engine.
package pipeline
