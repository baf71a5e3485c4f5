package detect

import (
	"context"
	"fmt"
	"image"
	"testing"
)

// scene is a photo of the given size with one face.
func scene(b *testing.B, w, h int) *image.NRGBA {
	src := sample(b, "obama.jpg")
	read, err := newLumaReader(src)
	if err != nil {
		b.Fatal(err)
	}
	p := resample(read, image.Rect(0, 0, src.Rect.Dx(), src.Rect.Dx()*h/w), w, h)
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i, v := range p.pix {
		copy(out.Pix[4*i:], []byte{v, v, v, 255})
	}
	return out
}

func BenchmarkDetect(b *testing.B) {
	for _, c := range []struct {
		name string
		w, h int
	}{{"480p", 640, 480}, {"720p", 1280, 720}, {"1080p", 1920, 1080}, {"12MP", 4000, 3000}} {
		img := scene(b, c.w, c.h)
		for _, minFace := range []int{80, 40} {
			b.Run(fmt.Sprintf("%s/min%d", c.name, minFace), func(b *testing.B) {
				d := detector(b, Options{MinFace: minFace})
				for b.Loop() {
					faces, err := d.Detect(context.Background(), img)
					if err != nil || len(faces) != 1 {
						b.Fatal(len(faces), err)
					}
				}
			})
		}
	}
}

// BenchmarkScan sets the gray scan beside dlib's own, at 1080p.
func BenchmarkScan(b *testing.B) {
	s := scanner(b)
	p := lumaOf(b, scene(b, 1920, 1080), 1920, 1080).pixels()
	for _, c := range []struct {
		name string
		p    Pixels
	}{{"gray", p}, {"dlib", rgb(p)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Scan(c.p, false, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLandmarks(b *testing.B) {
	d := detector(b, Options{})
	img := sample(b, "obama.jpg")
	faces, err := d.Detect(context.Background(), img)
	if err != nil || len(faces) != 1 {
		b.Fatal(len(faces), err)
	}
	for b.Loop() {
		if _, err := d.Landmarks(img, faces[0].Box, 0); err != nil {
			b.Fatal(err)
		}
	}
}
