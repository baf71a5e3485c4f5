package media

// #cgo pkg-config: libavformat libavcodec libavfilter libavutil
// #include <stdlib.h>
// #include "video_read.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// ErrNotVideo says that a file holds no video that can be read.
var ErrNotVideo = errors.New("not a video")

// Limits on what a container may say of itself.
const (
	maxStreams  = 1000
	maxSide     = 16384
	maxMetadata = 4 << 20 // bytes of all tags together
)

// demuxers are those that are tried. None of them reads any other file:
// playlists, picture sequences and devices are missing on purpose.
var demuxers = strings.Join([]string{
	"asf", "asf_o", "av1", "avi", "avs", "cavsvideo", "dhav", "dirac", "dv", "flv", "gif", "gxf",
	"h261", "h263", "h264", "hevc", "ivf", "ivr", "kux", "live_flv", "lvf", "lxf", "m4v", "matroska,webm",
	"mjpeg", "mjpeg_2000", "mov,mp4,m4a,3gp,3g2,mj2", "mpeg", "mpegts", "mpegvideo", "mpjpeg", "mxf",
	"nsv", "nut", "nuv", "obu", "ogg", "pva", "rm", "roq", "swf", "vc1", "vc1test", "viv", "wtv", "yuv4mpegpipe",
}, ",")

// videoNames are the extensions of IsVideoName.
var videoNames = map[string]bool{}

func init() {
	for e := range strings.FieldsSeq("3g2 3gp amv asf avi divx dv f4v flv gif gxf ivf m1v m2p m2t m2ts m2v m4v mj2 mkv mod mov " +
		"mp4 mpe mpeg mpg mpv mts mxf nsv nut nuv obu ogm ogv qt rm rmvb tod tp trp ts vc1 vob webm wmv wtv xvid y4m") {
		videoNames["."+e] = true
	}
}

// IsVideoName tells whether a path ends like a video's. Only ProbeVideo knows.
func IsVideoName(name string) bool { return videoNames[strings.ToLower(filepath.Ext(name))] }

// quiet stops FFmpeg, once, from writing to the process's standard error.
var quiet = sync.OnceFunc(func() { C.vr_quiet() })

// pointer is the C pointer behind one of astiav's types: their first field.
func pointer[T any](p *T) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(p)) }

// avError is FFmpeg's error for a return value, or nil.
func avError(rc C.int) error {
	if rc >= 0 {
		return nil
	}
	return astiav.Error(rc)
}

// input is an open container. FFmpeg reads it through our file only.
type input struct {
	path string
	file *os.File
	io   *C.vr_io
	fc   *astiav.FormatContext

	complaints int64 // packets before which the demuxer read over something that is wrong
}

// openInput opens a container and looks into its streams. It reads at most
// some MiB, from path alone.
//
// What timestamps are missing, FFmpeg derives from those before. In the formats
// named raw it doesn't.
func openInput(ctx context.Context, path string, raw ...string) (*input, error) {
	quiet()
	f, err := openRegularAs(path, ErrNotVideo)
	if err != nil {
		return nil, err
	}
	in := &input{path: path, file: f, io: C.vr_io_new(C.int(f.Fd()))}
	if in.io == nil {
		f.Close()
		return nil, fmt.Errorf("open %s: out of memory", path)
	}
	if err := in.while(ctx, func() error { return in.open(raw) }); err != nil {
		in.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return in, nil
}

func (in *input) open(raw []string) error {
	// The name tells the demuxers nothing but its extension.
	hint := "video" + strings.ToLower(filepath.Ext(in.path))
	if strings.ContainsAny(hint, "%*?{}") {
		hint = "video"
	}
	name, allowed := C.CString(hint), C.CString(demuxers)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(allowed))
	var c *C.AVFormatContext
	if err := avError(C.vr_open(in.io, name, allowed, maxStreams, &c)); err != nil {
		return in.openError(err)
	}
	// astiav's own OpenInput would leak an entry of its table at each failure.
	fc := &astiav.FormatContext{}
	*(*unsafe.Pointer)(unsafe.Pointer(fc)) = unsafe.Pointer(c)
	in.fc = fc
	if slices.Contains(raw, C.GoString(c.iformat.name)) {
		c.flags |= C.AVFMT_FLAG_NOFILLIN
	}
	if n := fc.NbStreams(); n > maxStreams {
		return fmt.Errorf("%w: %d streams, at most %d", ErrTooLarge, n, maxStreams)
	}
	for i := range fc.NbStreams() {
		p := in.stream(i).codecpar
		if p.width > maxSide || p.height > maxSide {
			return fmt.Errorf("%w: %d×%d pixels, at most %d each way", ErrTooLarge, p.width, p.height, maxSide)
		}
	}
	if err := avError(C.vr_find_stream_info(in.c(), maxSide*maxSide)); err != nil {
		return in.openError(err)
	}
	if n := fc.NbStreams(); n > maxStreams {
		return fmt.Errorf("%w: %d streams, at most %d", ErrTooLarge, n, maxStreams)
	}
	return nil
}

// openError says in our words why a container doesn't open.
func (in *input) openError(err error) error {
	if e := in.ioError(); e != nil {
		return e
	}
	var rc astiav.Error
	if !errors.As(err, &rc) {
		return err
	}
	switch rc {
	case astiav.Error(-int(syscall.EINVAL)), astiav.ErrDemuxerNotFound, astiav.ErrProtocolNotFound:
		return fmt.Errorf("%w: no known container", ErrNotVideo)
	case astiav.ErrInvaliddata, astiav.ErrEof:
		if in.fc == nil {
			return fmt.Errorf("%w: no container that can be read: %w", ErrNotVideo, err)
		}
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case astiav.ErrPatchwelcome:
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case astiav.Error(-int(syscall.ENOMEM)):
		return fmt.Errorf("%w: it has more than %d streams, or asks for more memory than there is", ErrTooLarge, maxStreams)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// ioError is the system's error of a read that failed, or nil.
func (in *input) ioError() error {
	if e := C.vr_io_error(in.io); e != 0 {
		return os.NewSyscallError("read", syscall.Errno(e))
	}
	return nil
}

func (in *input) c() *C.AVFormatContext { return (*C.AVFormatContext)(pointer(in.fc)) }

func (in *input) stream(i int) *C.AVStream { return C.vr_stream(in.c(), C.int(i)) }

// while runs f; when ctx ends, f's reads fail and ctx's error is returned.
func (in *input) while(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return f()
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		C.vr_io_stop(in.io, 1)
		close(stopped)
	})
	err := f()
	if !unhook() {
		<-stopped // in.io may be freed only when nobody writes to it
		if err == nil {
			C.vr_io_stop(in.io, 0) // too late: nothing was broken off
		}
	}
	if e := ctx.Err(); e != nil && err != nil {
		return e
	}
	return err
}

// read takes the next packet of any stream. io.EOF's counterpart is astiav.ErrEof.
func (in *input) read(p *astiav.Packet) error { return in.fc.ReadFrame(p) }

// Close may be called again.
func (in *input) Close() {
	if in.fc != nil {
		c := in.c()
		C.avformat_close_input(&c)
		in.fc = nil
	}
	if in.io != nil {
		C.vr_io_free(in.io)
		in.io = nil
	}
	if in.file != nil {
		in.file.Close()
		in.file = nil
	}
}

// packetBytes shows a packet's payload, no copy.
func packetBytes(p *C.AVPacket) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p.data)), int(p.size))
}
