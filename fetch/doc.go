// Package fetch downloads one large file so that nothing is lost or wrong: an
// interrupted download goes on where it stopped, and the file appears only
// complete, with the right checksum, and whole on the disk.
//
// The bytes go to a hidden file beside the target, with a note of which
// version of the file they belong to (address, ETag or date, size). A further
// call, or a try after a broken connection, asks the server for the rest of
// that version; a server that has another version by now sends it whole. What
// is complete is checked, synced and renamed.
//
// Only HTTPS is spoken, redirects included, except with the machine itself.
// Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY).
package fetch
