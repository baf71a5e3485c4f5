package align

import (
	"fmt"
	"strings"
)

// FFHQ512 are the places of the image-left eye, image-right eye, nose tip and
// left and right mouth corner in a 512×512 crop: the means over FFHQ that
// facexlib, GFPGAN, CodeFormer and RestoreFormer++ were trained with.
var FFHQ512 = [5]Point{
	{192.98138, 239.94708}, {318.90277, 240.1936}, {256.63416, 314.01935},
	{201.26117, 371.41043}, {313.08905, 371.15118},
}

// ARCFACE112 are the same five points in the 112×112 crop of ArcFace
// (insightface, published as src1 of its face_align).
var ARCFACE112 = [5]Point{
	{38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366},
	{41.5493, 92.3655}, {70.7299, 92.2041},
}

// ARCFACE128 is ARCFACE112 in a 128×128 crop, eight pixels wider on the left
// and right and sixteen longer below, as GPEN's 256-pixel models use it.
var ARCFACE128 = func() (t [5]Point) {
	for i, p := range ARCFACE112 {
		t[i] = Point{p.X + 8, p.Y}
	}
	return t
}()

// DLIB512 are dlib's five landmarks in the frame of FFHQ512, in dlib's order:
// the corners of the image-right eye (outer, inner), of the image-left eye
// (outer, inner), and the base of the nose. They are means of our own: dlib's
// shape_predictor_5_face_landmarks over 1,582 aligned faces of six sets, each
// set with the same weight. The figures that CodeFormer publishes differ by
// up to 4 px: (343.386, 244.312) (293.386, 246.797) (168.955, 244.193)
// (218.975, 246.757) (256.792, 339.252).
var DLIB512 = [5]Point{
	{339.971, 245.623}, {291.458, 248.491}, {170.600, 248.212}, {219.108, 249.663}, {255.898, 338.174},
}

// Template gives the places of five landmarks in a square crop of the given
// side. The names are those of the model contract: "ffhq_512", "arcface_112",
// "arcface_128" for eyes, nose and mouth corners, and the same with the
// prefix "dlib_" for dlib's five points in that frame. (dlib's points are
// carried from FFHQ512 into the other frames by the similarity between the
// frames.) The points of one scheme must never be matched with the template
// of another. Coordinates are scaled about pixel corners: (x+½)·s−½.
func Template(name string, size int) ([]Point, error) {
	if size < 1 || size > MaxSize {
		return nil, fmt.Errorf("align: template %s at size %d: outside 1..%d", name, size, MaxSize)
	}
	frame, dlib := strings.CutPrefix(name, "dlib_")
	var points [5]Point
	var side float64
	switch frame {
	case "ffhq_512":
		points, side = FFHQ512, 512
	case "arcface_112":
		points, side = ARCFACE112, 112
	case "arcface_128":
		points, side = ARCFACE128, 128
	default:
		return nil, fmt.Errorf("align: no template %q; there are ffhq_512, arcface_112, arcface_128 and each with dlib_ before it", name)
	}
	if dlib {
		carry, err := Estimate(FFHQ512[:], points[:])
		if err != nil {
			return nil, fmt.Errorf("align: template %s: %w", name, err)
		}
		for i, p := range DLIB512 {
			points[i] = carry.Apply(p)
		}
	}
	s := float64(size) / side
	for i, p := range points {
		points[i] = Point{(p.X+0.5)*s - 0.5, (p.Y+0.5)*s - 0.5}
	}
	return points[:], nil
}
