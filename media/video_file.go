package media

// #include "video_write.h"
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/asticode/go-astiav"
)

// newTemp makes an empty temporary beside the file it is to become.
func newTemp(path string) (string, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	f, err := createTemp(dir)
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// fileURL keeps FFmpeg from taking a path for anything but one.
func fileURL(path string) string { return "file:" + path }

// createFile opens a file for a muxer.
func createFile(path string) (*astiav.IOContext, error) {
	pb, err := astiav.OpenIOContext(fileURL(path), astiav.NewIOContextFlags(astiav.IOContextFlagWrite))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, nativeError(err))
	}
	return pb, nil
}

// closeFile closes a muxer's file and tells of every error in writing it.
func closeFile(fc *astiav.FormatContext, pb *astiav.IOContext) error {
	pb.Flush()
	sticky := avError(C.vw_io_error((*C.AVFormatContext)(pointer(fc))))
	err := pb.Close()
	fc.SetPb(&astiav.IOContext{})
	if sticky != nil {
		err = sticky
	}
	if err != nil {
		return fmt.Errorf("write: %w", nativeError(err))
	}
	return nil
}

// writeFrame gives the muxer a packet and tells at once when the disk is full.
func writeFrame(fc *astiav.FormatContext, p *astiav.Packet) error {
	if err := fc.WriteFrame(p); err != nil {
		return err
	}
	return avError(C.vw_io_error((*C.AVFormatContext)(pointer(fc))))
}

func noShift(fc *astiav.FormatContext) { C.vw_no_shift((*C.AVFormatContext)(pointer(fc))) }

// sameLayout tells whether pictures of both formats lie in memory alike: yuvj420p
// is yuv420p with its range in its name.
func sameLayout(a, b astiav.PixelFormat) bool {
	return a == b || strings.Replace(a.Name(), "yuvj", "yuv", 1) == strings.Replace(b.Name(), "yuvj", "yuv", 1)
}
