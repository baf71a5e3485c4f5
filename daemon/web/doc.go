// Package web is the daemon's face for people: a page, and the API behind it
// for programs, on the address http.listen.
//
//	web.go      [Serve], the listener and its limits
//	guard.go    who gets in: the Host of a request, its origin, its token
//	tries.go    … and how often one may try
//	page.go     the page, whose files are embedded (page/)
//	picture.go  the photo before and after, moments of a video, thumbnails
//	preview.go  … made small in another process, and kept for a while
//	upload.go   a file for a watched folder
//	metrics.go  the figures for Prometheus
//	queue.go    River's page for operators
//	folders.go  the watched folders and their health
//
// A request passes the guard first. Then it reaches the page, which is no
// secret, or the API below /v1, which asks for the token where there is one:
// the daemon's own [Options].API, and what this package adds to it.
//
// No path of a request names a file: files go by their numbers in the ledger,
// folders by an opaque name, and only the last part of an upload's name is
// taken. What the work consists of is the caller's: this package knows the
// daemon through [Options] alone. [Server.Close] waits for what [Serve] has
// started, except for a folder that doesn't answer.
package web
