package media

// #cgo pkg-config: vips libwebp
// #include <stdlib.h>
// #include <vips/vips.h>
// #include "photo_vips.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"image"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Kinds of file that libvips decodes, as in photo_vips.h.
const (
	kindJPEG = iota
	kindPNG
	kindTIFF
	kindWebP
	kindHEIF
)

// Interpretations of libvips (vips/image.h) that a header may show.
const (
	interpBW    = int(C.VIPS_INTERPRETATION_B_W)
	interpCMYK  = int(C.VIPS_INTERPRETATION_CMYK)
	interpSRGB  = int(C.VIPS_INTERPRETATION_sRGB)
	interpRGB   = int(C.VIPS_INTERPRETATION_RGB)
	interpRGB16 = int(C.VIPS_INTERPRETATION_RGB16)
	interpGray6 = int(C.VIPS_INTERPRETATION_GREY16)
)

var native struct {
	sync.Mutex
	started, stopped bool
}

// Startup sets libvips up for the whole process: no cache of operations,
// loaders that libvips calls untrusted blocked, and up to threads threads per
// image (0: one per processor). It may be called again; after Shutdown it is
// an error.
func Startup(threads int) error {
	native.Lock()
	defer native.Unlock()
	if native.stopped {
		return errors.New("media: libvips can't be started again after Shutdown")
	}
	if native.started {
		return nil
	}
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if C.mp_init(C.int(threads)) != 0 {
		return fmt.Errorf("media: libvips doesn't start: %s", takeError())
	}
	native.started = true
	return nil
}

// Shutdown ends libvips. No other function of this package may run then or later.
func Shutdown() {
	native.Lock()
	defer native.Unlock()
	if native.started && !native.stopped {
		C.mp_shutdown()
	}
	native.stopped = true
}

func running() error {
	native.Lock()
	defer native.Unlock()
	if !native.started || native.stopped {
		return errors.New("media: libvips isn't running: call Startup first")
	}
	return nil
}

// calls guards libvips' error buffer, which is one for the whole process:
// calls that succeed share it, and one that failed is run again alone, so that
// the reason it leaves is its own.
var calls sync.RWMutex

func call(f func() C.int) error {
	calls.RLock()
	rc := f()
	calls.RUnlock()
	if rc == 0 {
		return nil
	}
	calls.Lock()
	defer calls.Unlock()
	C.vips_error_clear()
	if f() == 0 {
		return nil
	}
	return errors.New(takeError())
}

// takeError empties the error buffer into one line, each reason once.
func takeError() string {
	s := C.GoString(C.vips_error_buffer())
	C.vips_error_clear()
	var lines []string
	seen := map[string]bool{}
	for l := range strings.SplitSeq(s, "\n") {
		if l = strings.TrimSpace(l); l != "" && !seen[l] {
			seen[l] = true
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return "no reason given"
	}
	return strings.Join(lines[:min(len(lines), 4)], "; ")
}

// cancellable runs f with a flag that is set once ctx is done. An error of ctx
// goes before one of f.
func cancellable(ctx context.Context, f func(flag *C.int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	flag := (*C.int)(C.calloc(1, C.sizeof_int))
	idle := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		atomic.StoreInt32((*int32)(unsafe.Pointer(flag)), 1)
		close(idle)
	})
	err := f(flag)
	if !stop() {
		<-idle // the flag may be freed only when nobody writes to it
	}
	C.free(unsafe.Pointer(flag))
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return err
}

// header is what libvips reads before any pixel.
type header struct {
	width, height, bands, pages int
	depth                       int // 8, 16, or 0 for other sample types
	interp                      int
}

func readHeader(kind int, b []byte) (header, error) {
	var h C.mp_header
	err := call(func() C.int {
		return C.mp_read_header(C.int(kind), unsafe.Pointer(&b[0]), C.size_t(len(b)), &h)
	})
	return header{int(h.width), int(h.height), int(h.bands), int(h.pages), int(h.depth), int(h.interp)}, err
}

// decode fills pix, the pixels of a bands-band image (1 or 4) of width×height
// as displayed, from the file b, turned by its EXIF orientation.
func decode(ctx context.Context, kind int, b, pix []byte, w, h, bands, depth, orientation int, cmyk, strict bool) error {
	ps := bands * depth / 8
	x, y, origin := axes(orientation, w, h)
	l := C.mp_layout{
		origin: C.ptrdiff_t(origin * ps), sx: C.ptrdiff_t(x * ps), sy: C.ptrdiff_t(y * ps),
		bands: C.int(bands), cmyk: cbool(cmyk), strict: cbool(strict),
	}
	return cancellable(ctx, func(flag *C.int) error {
		return call(func() C.int {
			if ctx.Err() != nil {
				return -1
			}
			return C.mp_decode(C.int(kind), unsafe.Pointer(&b[0]), C.size_t(len(b)), unsafe.Pointer(&pix[0]), &l, flag)
		})
	})
}

// axes says where a stored pixel (sx, sy) lies in the upright image of w×h
// pixels: at index origin + sx·x + sy·y.
func axes(orientation, w, h int) (x, y, origin int) {
	last := w*h - 1
	switch orientation {
	case 2:
		return -1, w, w - 1
	case 3:
		return -1, -w, last
	case 4:
		return 1, -w, last - w + 1
	case 5:
		return w, 1, 0
	case 6:
		return w, -1, w - 1
	case 7:
		return -w, -1, last
	case 8:
		return -w, 1, last - w + 1
	}
	return 1, w, 0
}

// encoding says how encode writes.
type encoding struct {
	kind                   int
	bands                  int // in the file
	orientation            int
	quality                int // PNG: zlib level
	progressive, lossless  bool
	compression, predictor int // TIFF, as libvips numbers them; predictor: PNG's filters too
	tileW, tileH           int
	bigTIFF, premultiply   bool
}

// pixels is an image as bytes: rows without gaps, 16 bit big-endian.
type pixels struct {
	pix                 []byte
	w, h, bands, depth8 int // depth8: bytes per sample
}

// encode gives the encoded bytes to use, which may change but not keep them.
func encode(ctx context.Context, p pixels, e encoding, use func([]byte) error) error {
	f := C.mp_format{
		kind: C.int(e.kind), width: C.int(p.w), height: C.int(p.h), bands_in: C.int(p.bands), bands: C.int(e.bands),
		depth: C.int(8 * p.depth8), orientation: C.int(e.orientation), quality: C.int(e.quality),
		progressive: cbool(e.progressive), lossless: cbool(e.lossless), compression: C.int(e.compression),
		predictor: C.int(e.predictor), tile_w: C.int(e.tileW), tile_h: C.int(e.tileH),
		bigtiff: cbool(e.bigTIFF), premultiply: cbool(e.premultiply),
	}
	var out unsafe.Pointer
	var n C.size_t
	defer func() { C.g_free(C.gpointer(out)) }()
	err := cancellable(ctx, func(flag *C.int) error {
		return call(func() C.int {
			if ctx.Err() != nil {
				return -1
			}
			return C.mp_encode(unsafe.Pointer(&p.pix[0]), &f, &out, &n, flag)
		})
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return use(unsafe.Slice((*byte)(out), int(n)))
}

// preview gives the bytes of a JPEG in sRGB that fits side×side pixels, of a file
// that isn't a BMP.
func preview(ctx context.Context, kind int, b []byte, side int) ([]byte, error) {
	var out unsafe.Pointer
	var n C.size_t
	defer func() { C.g_free(C.gpointer(out)) }()
	err := cancellable(ctx, func(flag *C.int) error {
		return call(func() C.int {
			return C.mp_preview(C.int(kind), unsafe.Pointer(&b[0]), C.size_t(len(b)), C.int(side), previewQuality, &out, &n, flag)
		})
	})
	if err != nil {
		return nil, err
	}
	return C.GoBytes(out, C.int(n)), nil
}

// blob copies a metadata blob that libvips found in the file; nil if none.
func blob(kind int, b []byte, name string) ([]byte, error) {
	cs := C.CString(name)
	defer C.free(unsafe.Pointer(cs))
	var out unsafe.Pointer
	var n C.size_t
	err := call(func() C.int {
		return C.mp_read_blob(C.int(kind), unsafe.Pointer(&b[0]), C.size_t(len(b)), cs, &out, &n)
	})
	if err != nil || out == nil {
		return nil, err
	}
	defer C.g_free(C.gpointer(out))
	return C.GoBytes(out, C.int(n)), nil
}

// srgbProfile returns libvips' sRGB profile.
func srgbProfile() ([]byte, error) {
	var out unsafe.Pointer
	var n C.size_t
	if err := call(func() C.int { return C.mp_srgb(&out, &n) }); err != nil {
		return nil, fmt.Errorf("sRGB profile: %w", err)
	}
	defer C.g_free(C.gpointer(out))
	return C.GoBytes(out, C.int(n)), nil
}

func cbool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// newImage makes an image of w×h pixels and returns it with its bytes.
func newImage(w, h, bands, depth int) (image.Image, []byte) {
	r := image.Rect(0, 0, w, h)
	switch {
	case bands == 1 && depth == 8:
		m := image.NewGray(r)
		return m, m.Pix
	case bands == 1:
		m := image.NewGray16(r)
		return m, m.Pix
	case depth == 8:
		m := image.NewNRGBA(r)
		return m, m.Pix
	}
	m := image.NewNRGBA64(r)
	return m, m.Pix
}

// tracked is how many bytes of pixels libvips holds.
func tracked() int64 { return int64(C.mp_tracked()) }
