// Package media opens photos as upright pixels in memory and writes edited
// pixels back as the same kind of file; it reads videos, picture by picture, in
// their own planes, encodes pictures in segments, and joins those with all else
// that the source holds.
//
// # Flow of a photo
//
//	Startup → OpenPhoto → (the caller edits Photo.Image) → Photo.Save → Shutdown
//
// OpenPhoto reads the file once, recognises it by its content, checks its size
// from the header, and lets libvips decode it straight into a standard Go
// image, turned upright on the way. Everything in the file that isn't pixels
// (EXIF with maker notes, ICC, XMP, IPTC, resolution, comments, unknown
// chunks) is kept aside as the bytes it was. Save turns the pixels back, lets
// libvips encode bare pixels, and puts those bytes around them: what libvips
// and libexif would re-write or lose, this keeps byte for byte. So the stored
// width, height and orientation tag of an output are those of its source, and
// it is displayed the same way.
//
// Outputs appear only complete: a hidden temporary file beside the target is
// written, synced and renamed, and its folder synced (writeAtomic in
// photo_file.go). Sources are opened read-only.
//
// # Colours
//
// RGB stays in the file's own space and gray stays gray; no profile is
// applied. CMYK alone is converted (to sRGB, by its embedded profile or
// libvips' stock one), with a note.
//
// # Why not govips
//
// The package binds libvips itself in one small C file, photo_vips.c. govips
// v2.16.0 gives pixels only as copies through C memory, takes none from memory
// but as an encoded file, has for fail_on a switch that only some loaders get,
// can't be cancelled, and panics where it can't start. The cgo needed beside it
// would have been the same file. BMP, for which libvips has only ImageMagick,
// is a small codec in Go.
//
// Pixels are pulled from libvips in the calling thread (pull in photo_vips.c):
// its threaded sinks lose, now and then, an error in a file's last strip, and
// a truncated JPEG then opens as if whole. JPEG, PNG and WebP are decoded by
// one thread in any case.
//
// # Reading a video
//
//	ProbeVideo → IndexVideo → Index.Segments → for each: OpenReader → Next … → Close
//
// ProbeVideo tells what a container says of itself, IndexVideo demuxes it once
// to count its pictures and find its keyframes, and a Reader decodes the
// pictures of one span of timestamps. FFmpeg reads the file through one open
// file of ours and can open nothing else: playlists, external references and
// addresses lead nowhere.
//
// A picture has one timestamp, however the file is read: that of its packet,
// else, where the container has only those of decoding, that of the packet
// which brought it out of the decoder. Timestamps ascend strictly. So that
// reading from the middle gives the same as reading from the start, a Reader
// seeks only in containers whose packets all bear their own timestamps; in
// others it demuxes what stands before, which costs the reading of the file but
// no decoding. It begins at a keyframe from which the decoder gives the same
// pictures as one that has seen all before, and it checks that the first one to
// come isn't after From. What begins nowhere but at its start (GIF, H.264 with
// gradual refresh) is read from there.
//
// The planes are FFmpeg's own memory, without a copy, until Release. Formats
// other than planar YUV or gray are converted (WorkFormat).
//
// FFmpeg is bound by go-astiav; what that lacks is in video_read.c. The first
// field of astiav's types is the C pointer, which is how the two meet
// (pointer in video_open.go).
//
// # Writing a video
//
//	ChooseEncoding → for each span: CreateSegment → Write … → Finish → JoinVideo
//
// ChooseEncoding decides once, for every machine, by encoding a picture and by
// writing the container's header with all streams into nowhere. All that shapes
// an encoder's bytes is in the Encoding, its threads too, so a segment that is
// made again is the same file (tested for every software encoder).
//
// Encoders are given the pictures' numbers for timestamps. A SegmentWriter puts
// the true ones onto the packets and writes NUT, which keeps the packets and
// headers of every codec as they are, and timestamps in a whole fraction of the
// source's time base, but none below zero, no durations and no times of
// decoding: timestamps count from the segment's first picture, which a tag names.
// Each segment begins with a keyframe and refers to no other.
//
// JoinVideo copies packets. It makes durations and times of decoding anew, from
// the timestamps of the whole video (segmentReader), so that they ascend over
// the seams whatever the rate. All other streams' packets go through as they
// are. Then it reads the file again and compares it with what it has read and
// written: every timestamp, a hash of each copied stream, headers, chapters, and
// a few pictures decoded from each seam on (check in video_verify.go). Only
// then the file appears.
//
// In an MP4 file the tags stay in iTunes' list, with items "----" for those that
// it has no item for, since FFmpeg's other list excludes covers; XMP lies in a
// box of its own (video_tags.go). FFmpeg 5's muxer of Matroska forgets Opus'
// delay, which is added (opusDelay). libsvtav1 can't be freed before it has
// encoded a picture and given it back (closeEncoder).
//
// What go-astiav lacks for this is in video_write.c.
//
// # Ownership
//
// A SegmentWriter holds native memory until Finish or Abort; what it is given
// stays the caller's. JoinVideo holds nothing after it returns.
//
// A Reader and each Picture hold native memory until Close and Release; their
// order doesn't matter. Of photos nothing native outlives a call: Photo holds Go memory only and needs no
// Close. libvips keeps no cache of operations (it would hold Go pointers).
// Startup and Shutdown are for package main; libvips can't be started again.
package media
