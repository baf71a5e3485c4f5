package detect

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"runtime"
	"sync"

	face "github.com/Kagami/go-face"
)

// Recognizer computes what dlib's face recognition network makes of a face: 128
// numbers whose Euclidean distance is under about 0.6 for two pictures of one
// person. Calls run one at a time: use one Recognizer per worker.
type Recognizer struct {
	mu  sync.Mutex
	rec *face.Recognizer
}

// NewRecognizer reads dlib's three public model files from a folder. One that
// is missing, truncated or wrong gives an error with its name and the reason.
func NewRecognizer(models string) (*Recognizer, error) {
	for _, name := range []string{predictorFile, resnetFile, mmodFile} {
		if _, err := checkModel(models, name); err != nil {
			return nil, err
		}
	}
	rec, err := face.NewRecognizer(models)
	if err != nil {
		return nil, fmt.Errorf("detect: models for identity in %s: %w (run the set-up again)", models, err)
	}
	r := &Recognizer{rec: rec}
	runtime.SetFinalizer(r, func(r *Recognizer) { _ = r.Close() })
	return r, nil
}

// Close frees the native memory. It may be called again.
func (r *Recognizer) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rec != nil {
		r.rec.Close()
		r.rec = nil
		runtime.SetFinalizer(r, nil)
	}
	return nil
}

const (
	// identitySize is the side of the picture that go-face is given. The
	// network sees 150 pixels of it whatever it is.
	identitySize = 256
	// identityQuality is the JPEG quality on the way; go-face reads JPEG only.
	identityQuality = 98
	// identityOverlap is how much of the union the found box and the template's
	// must share.
	identityOverlap = 0.25
)

// alignedBox is where dlib's detector sees the face of an ffhq_512 crop, in
// parts of its side: the median over 1890 faces.
var alignedBox = [4]float64{95.0 / 512, 164.0 / 512, 406.0 / 512, 475.0 / 512}

// Descriptor describes an aligned face: planar RGB, 3·size·size values in
// [0, 1], on the template ffhq_512 (scaled to size). It takes the detected face
// that fits the template best, and asks the slower MMOD network when dlib's HOG
// detector finds none. ok is false when neither finds a face.
func (r *Recognizer) Descriptor(planar []float32, size int) (desc [128]float32, ok bool, err error) {
	if size < 32 || size > 4096 || len(planar) != 3*size*size {
		return desc, false, fmt.Errorf("detect: identity: %d values for size %d, want 3·size² and a size of 32 to 4096", len(planar), size)
	}
	data, err := encodeAligned(planar, size, identitySize)
	if err != nil {
		return desc, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rec == nil {
		return desc, false, errClosed
	}
	for _, recognize := range []func([]byte) ([]face.Face, error){r.rec.Recognize, r.rec.RecognizeCNN} {
		faces, err := recognize(data)
		if err != nil {
			return desc, false, fmt.Errorf("detect: identity: %w", err)
		}
		if f := fittest(faces); f != nil {
			return [128]float32(f.Descriptor), true, nil
		}
	}
	return desc, false, nil
}

// fittest is the face that shares most with the template's box, or nil.
func fittest(faces []face.Face) *face.Face {
	at := func(i int) int { return int(alignedBox[i]*identitySize + 0.5) }
	want := image.Rect(at(0), at(1), at(2), at(3))
	var best *face.Face
	most := identityOverlap
	for i, f := range faces {
		in := f.Rectangle.Intersect(want)
		shared := float64(in.Dx() * in.Dy())
		union := float64(f.Rectangle.Dx()*f.Rectangle.Dy()+want.Dx()*want.Dy()) - shared
		if shared/union >= most {
			best, most = &faces[i], shared/union
		}
	}
	return best
}

// Distance is the Euclidean distance of two descriptors.
func Distance(a, b [128]float32) float64 {
	var sum float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

var errNotFinite = errors.New("detect: identity: the aligned face has values that aren't numbers")

// encodeAligned brings a planar face to side pixels and gives it as JPEG.
func encodeAligned(planar []float32, size, side int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	ts := axisTaps(size, side)
	line, sum := make([]float32, side), make([]float32, side)
	for c := range 3 {
		channel := planar[c*size*size : (c+1)*size*size]
		for y := range side {
			clear(sum)
			for k, wy := range ts[y].weights {
				row := ts[y].first + k
				filterRow(channel[row*size:(row+1)*size], ts, line)
				for x, v := range line {
					sum[x] += wy * v
				}
			}
			for x, v := range sum {
				if v != v {
					return nil, errNotFinite
				}
				img.Pix[y*img.Stride+4*x+c] = uint8(max(0, min(v, 1))*255 + 0.5)
			}
		}
	}
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 255
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: identityQuality}); err != nil {
		return nil, fmt.Errorf("detect: identity: %w", err)
	}
	return buf.Bytes(), nil
}
