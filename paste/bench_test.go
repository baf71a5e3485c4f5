package paste

import (
	"fmt"
	"image"
	"math"
	"testing"
)

// BenchmarkPaste puts two 512-pixel crops into a 12-megapixel photo; the
// number is the crops' side in the photo, in pixels.
func BenchmarkPaste(b *testing.B) {
	const size = 512
	img := image.NewNRGBA(image.Rect(0, 0, 4000, 3000))
	before, after := make([]float32, 3*size*size), make([]float32, 3*size*size)
	for i := range before {
		before[i] = 0.5 + 0.3*float32(math.Sin(float64(i)/50))
		after[i] = before[i] + 0.05*float32(math.Sin(float64(i)/7))
	}
	for _, width := range []float64{100, 200, 400, 800, 1600} {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			s := size / width
			sin, cos := math.Sincos(0.15)
			a := [6]float64{s * cos, -s * sin, -900 * s, s * sin, s * cos, -1100 * s}
			c := a
			c[2] -= 1800 * s
			faces := []Face{
				{Before: before, After: after, Size: size, ToCrop: a, Blend: 1},
				{Before: before, After: after, Size: size, ToCrop: c, Blend: 1},
			}
			for b.Loop() {
				if _, err := Paste(img, faces); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
