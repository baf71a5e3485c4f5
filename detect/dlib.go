package detect

// #cgo CXXFLAGS: -std=c++17 -O3 -DNDEBUG
// #cgo LDFLAGS: -ldlib -lblas -llapack -lpthread
// #include <stdlib.h>
// #include "dlib.h"
import "C"

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"sync"
	"unsafe"
)

// Pixels is a raw 8-bit image: Height rows of Width×Channels bytes that start
// Stride bytes apart. Channels is 1 (gray) or 3 (RGB).
type Pixels struct {
	Pix                             []byte
	Stride, Width, Height, Channels int
}

// maxSide bounds what the native code is given; dlib counts in longs, but its
// feature planes in ints.
const maxSide = 1 << 16

func (p Pixels) check() error {
	switch {
	case p.Channels != 1 && p.Channels != 3:
		return fmt.Errorf("pixels have %d channels, want 1 (gray) or 3 (RGB)", p.Channels)
	case p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide:
		return fmt.Errorf("pixels are %d×%d, want 1 to %d each way", p.Width, p.Height, maxSide)
	case p.Stride < p.Width*p.Channels || p.Stride > 1<<30:
		return fmt.Errorf("a stride of %d bytes doesn't fit rows of %d×%d bytes", p.Stride, p.Width, p.Channels)
	case len(p.Pix) < p.Stride*(p.Height-1)+p.Width*p.Channels:
		return fmt.Errorf("%d bytes are too few for %d rows of stride %d", len(p.Pix), p.Height, p.Stride)
	}
	return nil
}

// Hit is one raw detection of Scanner.Scan.
type Hit struct {
	Box    image.Rectangle // in the pixels scanned; may reach over the image's edge
	Score  float64         // over dlib's own threshold
	Filter int             // 0 front, 1 left, 2 right, 3 and 4 front tilted
}

// Scanner is the binding to dlib itself: the frontal HOG detector and the
// shape predictor, on raw pixels. Its methods may be called from many
// goroutines but run one at a time.
type Scanner struct {
	mu  sync.Mutex
	ctx *C.detect_ctx
}

const (
	parts    = 5
	maxHits  = 1024
	errBytes = 512
)

var errClosed = errors.New("detect: use after Close")

// NewScanner reads the shape predictor from the folder models.
func NewScanner(models string) (*Scanner, error) {
	path, err := checkModel(models, predictorFile)
	if err != nil {
		return nil, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var ctx *C.detect_ctx
	var n C.int
	msg := newErrBuf()
	if C.detect_new(cpath, &ctx, &n, msg.ptr(), errBytes) != 0 {
		return nil, fmt.Errorf("detect: model %s: %s (truncated or not the model? fetch it again)", path, msg)
	}
	if n != parts {
		C.detect_free(ctx)
		return nil, fmt.Errorf("detect: model %s: predicts %d points, want %d", path, n, parts)
	}
	s := &Scanner{ctx: ctx}
	runtime.SetFinalizer(s, func(s *Scanner) { _ = s.Close() })
	return s, nil
}

// Close frees the native memory. It may be called again.
func (s *Scanner) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx != nil {
		C.detect_free(s.ctx)
		s.ctx = nil
		runtime.SetFinalizer(s, nil)
	}
	return nil
}

// Scan finds frontal faces of at least about 80 pixels (40 with upsample,
// which doubles the image first at four times the cost) whose score is at
// least threshold over dlib's own. Hits come best first, at most 1024, each
// face once per dlib's own suppression.
func (s *Scanner) Scan(p Pixels, upsample bool, threshold float64) ([]Hit, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	if upsample && (p.Width > maxSide/2 || p.Height > maxSide/2) {
		return nil, fmt.Errorf("detect: %d×%d is too large to be upsampled", p.Width, p.Height)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil, errClosed
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	im := p.c(&pin)
	up := C.int(0)
	if upsample {
		up = 1
	}
	hits := make([]C.detect_hit, maxHits)
	var n C.int
	msg := newErrBuf()
	if C.detect_scan(s.ctx, &im, up, C.double(threshold), C.int(min(runtime.GOMAXPROCS(0), 5)),
		&hits[0], maxHits, &n, msg.ptr(), errBytes) != 0 {
		return nil, fmt.Errorf("detect: scanning %d×%d pixels: %s", p.Width, p.Height, msg)
	}
	out := make([]Hit, n)
	for i, h := range hits[:n] {
		out[i] = Hit{
			Box:    image.Rect(int(h.left), int(h.top), int(h.right)+1, int(h.bottom)+1),
			Score:  float64(h.score),
			Filter: int(h.filter),
		}
	}
	return out, nil
}

// Predict runs the shape predictor on gray pixels, with each box where a
// detection would have it, and gives the mean of what it finds. A single box
// gives whole pixels: a Detector, on a larger crop, is finer.
func (s *Scanner) Predict(p Pixels, boxes ...image.Rectangle) ([5]Point, error) {
	all, err := s.predictEach(p, boxes)
	if err != nil {
		return [5]Point{}, err
	}
	return meanPoints(all), nil
}

func meanPoints(all [][parts]Point) [parts]Point {
	var mean [parts]Point
	for _, pts := range all {
		for i, p := range pts {
			mean[i].X += p.X / float64(len(all))
			mean[i].Y += p.Y / float64(len(all))
		}
	}
	return mean
}

// predictEach runs the shape predictor on gray pixels for each box.
func (s *Scanner) predictEach(p Pixels, boxes []image.Rectangle) ([][parts]Point, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	if p.Channels != 1 {
		return nil, fmt.Errorf("detect: landmarks want gray pixels, got %d channels", p.Channels)
	}
	if len(boxes) == 0 || len(boxes) > maxHits {
		return nil, fmt.Errorf("detect: landmarks: %d boxes, want 1 to %d", len(boxes), maxHits)
	}
	cboxes := make([]C.long, 0, 4*len(boxes))
	for _, b := range boxes {
		if b.Dx() < 2 || b.Dy() < 2 || !b.In(image.Rect(-maxSide, -maxSide, 2*maxSide, 2*maxSide)) {
			return nil, fmt.Errorf("detect: landmarks: box %v is empty or far outside", b)
		}
		cboxes = append(cboxes, C.long(b.Min.X), C.long(b.Min.Y), C.long(b.Max.X-1), C.long(b.Max.Y-1))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil, errClosed
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	im := p.c(&pin)
	xy := make([]C.double, 2*parts*len(boxes))
	msg := newErrBuf()
	if C.detect_landmarks(s.ctx, &im, &cboxes[0], C.int(len(boxes)), &xy[0], parts, msg.ptr(), errBytes) != 0 {
		return nil, fmt.Errorf("detect: landmarks in box %v: %s", boxes[0], msg)
	}
	out := make([][parts]Point, len(boxes))
	for i := range out {
		for k := range out[i] {
			at := 2 * (i*parts + k)
			out[i][k] = Point{float64(xy[at]), float64(xy[at+1])}
		}
	}
	return out, nil
}

// c gives the C view of p; pin keeps the pixels in place until unpinned.
func (p Pixels) c(pin *runtime.Pinner) C.detect_image {
	pin.Pin(&p.Pix[0])
	return C.detect_image{
		pix:      (*C.uint8_t)(&p.Pix[0]),
		stride:   C.long(p.Stride),
		width:    C.int(p.Width),
		height:   C.int(p.Height),
		channels: C.int(p.Channels),
	}
}

// errBuf receives the reason of a native failure.
type errBuf [errBytes]C.char

func newErrBuf() *errBuf         { return new(errBuf) }
func (e *errBuf) ptr() *C.char   { return &e[0] }
func (e *errBuf) String() string { return C.GoString(&e[0]) }
