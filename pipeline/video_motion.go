package pipeline

import (
	"image"
	"math"
)

const (
	// motionPatch is the side of the patch about a landmark whose motion is
	// measured, as a part of the face's box.
	motionPatch = 0.3
	// motionTexture is the least mean square of the luma's slope, in levels a
	// pixel, along the direction in which a patch has least of it, for its motion
	// to be known.
	motionTexture = 4
)

// motion is how far the patch of so many pixels' side about (x, y) moves from a
// to b, in pixels: the least-squares shift of Lucas and Kanade (1981), after the
// mean change of brightness. It is good for shifts up to about a pixel, and
// false where the patch has too little texture, or lies partly outside.
func motion(a, b *image.Gray, x, y, side float64) (float64, bool) {
	half := max(int(side/2), 2)
	cx, cy := int(math.Round(x)), int(math.Round(y))
	patch := image.Rect(cx-half, cy-half, cx+half+1, cy+half+1)
	if !patch.Inset(-1).In(a.Rect.Intersect(b.Rect)) {
		return 0, false
	}
	var gx, gy, t, xx, xy, yy, xt, yt float64 // sums, and sums of products
	for v := patch.Min.Y; v < patch.Max.Y; v++ {
		i := a.PixOffset(patch.Min.X, v)
		j := b.PixOffset(patch.Min.X, v)
		for range patch.Dx() {
			at := func(dx, dy int) float64 {
				return float64(a.Pix[i+dx+dy*a.Stride]) + float64(b.Pix[j+dx+dy*b.Stride])
			}
			sx, sy := (at(1, 0)-at(-1, 0))/4, (at(0, 1)-at(0, -1))/4
			d := float64(b.Pix[j]) - float64(a.Pix[i])
			gx, gy, t = gx+sx, gy+sy, t+d
			xx, xy, yy, xt, yt = xx+sx*sx, xy+sx*sy, yy+sy*sy, xt+sx*d, yt+sy*d
			i++
			j++
		}
	}
	n := float64(patch.Dx() * patch.Dy())
	xx, xy, yy = xx/n-gx*gx/n/n, xy/n-gx*gy/n/n, yy/n-gy*gy/n/n
	xt, yt = xt/n-gx*t/n/n, yt/n-gy*t/n/n
	if least := (xx+yy)/2 - math.Hypot((xx-yy)/2, xy); least < motionTexture {
		return 0, false
	}
	det := xx*yy - xy*xy
	return math.Hypot(yy*xt-xy*yt, xx*yt-xy*xt) / det, true
}
