// Package detect finds faces in photos and videos, their landmarks and their identity.
//
// Flow of Detector.Detect: the photo's luma is brought to the size at which the
// smallest face wanted has 80 pixels (at most doubled, at most MaxPixels) →
// dlib's frontal HOG detector → doubtful hits are looked at once more, upright
// and at a good size → landmarks, on an enlarged, upright crop of each face →
// one face for each place. When nothing is found, turned copies follow.
//
// Flow of Tracker.Add, for the pictures of a video: repeats reuse what was found →
// a cut suspends the tracks, until it is clear that it was no flash → each face
// is sought where it should be: landmarks, which have to be likely, and the look
// of the face, which has to be as before → what is lost is sought nearby → every
// few pictures a scan confirms the tracks, and begins new ones, which are
// followed backwards as well. Finish drops what a median of scans doesn't take
// for a face. Smooth then takes the noise off a track's landmarks.
//
// dlib is reached through the C ABI of dlib.h. It keeps no pointer of Go's, and
// no C++ exception leaves it. Gray scans, the usual ones, use dlib's pyramid,
// filters and suppression with the two hot loops of hog.cc; those of colour are
// dlib's own. dlib.cc says why dlib is renamed there.
//
// A Detector, a Tracker, a Scanner and a Recognizer own native memory until
// Close; they serve one call at a time, the others wait. But for a Tracker's last
// pictures, nothing else is held between calls.
// The identity network is go-face's; it is built with -march=native, so a
// release needs a compiler wrapper that drops that flag.
package detect
