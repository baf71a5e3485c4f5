package align

import (
	"fmt"
	"image"
	"math"
	"testing"
)

// BenchmarkWarp cuts crops out of a 12-megapixel photo; the number is the
// face's side in the photo, in pixels.
func BenchmarkWarp(b *testing.B) {
	img := image.NewNRGBA(image.Rect(0, 0, 4000, 3000))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * 7)
	}
	for _, side := range []float64{60, 200, 400, 800, 1600, 2400} {
		b.Run(fmt.Sprint(side), func(b *testing.B) {
			s := 512 / side
			m := Similarity{A: s * math.Cos(0.2), B: s * math.Sin(0.2), TX: -1000 * s, TY: -800 * s}
			for b.Loop() {
				if _, err := Warp(img, m, 512); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
