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
	read, err := newLumaReader(img)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.scanner.landmarks(read, img.Bounds().Size(), boxFrame(faces[0].Box)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTrack sets following a face, per picture, beside a scan of the same
// pictures. They move, so that none repeats.
func BenchmarkTrack(b *testing.B) {
	for _, c := range []struct {
		name string
		w, h int
	}{{"480p", 640, 480}, {"720p", 1280, 720}, {"1080p", 1920, 1080}} {
		img := scene(b, c.w+16, c.h)
		whole := lumaOf(b, img, c.w+16, c.h).gray()
		none := image.NewGray(whole.Rect)
		for i := range none.Pix {
			none.Pix[i] = uint8(i / 1000)
		}
		at := func(g *image.Gray, i int) *image.Gray {
			x := max(i%32-16, 16-i%32)
			return g.SubImage(image.Rect(x, 0, x+c.w, c.h)).(*image.Gray)
		}
		for _, v := range []struct {
			name string
			g    *image.Gray
		}{{"face", whole}, {"none", none}} {
			b.Run(c.name+"/track/"+v.name, func(b *testing.B) {
				tr, err := NewTracker(TrackOptions{Models: models(b)})
				if err != nil {
					b.Fatal(err)
				}
				defer tr.Close()
				for i := 0; b.Loop(); i++ {
					if err := tr.Add(context.Background(), at(v.g, i)); err != nil {
						b.Fatal(err)
					}
				}
				if tracks, err := tr.Finish(context.Background()); err != nil || len(tracks) > 1 {
					b.Fatal(len(tracks), err)
				}
			})
		}
		b.Run(c.name+"/scan", func(b *testing.B) {
			d := detector(b, Options{MaxPixels: defaultTrackPixels})
			for i := 0; b.Loop(); i++ {
				if _, err := d.Detect(context.Background(), at(whole, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
