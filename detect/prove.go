package detect

import "image"

const (
	// doubtful is the score under which a face is looked at twice; it stays if
	// the mean of both scores is sure, over the threshold. Of 560 faces found
	// in noisy pictures, 25 to 60 pixels wide, 50 were doubtful and 14 lost;
	// what goes is the likes of the folds of the astronaut's suit.
	doubtful = 0.5
	sure     = 0.1
	// turnedSure is what the second look at a turned face has to give: such
	// faces score 1 and more once they are upright.
	turnedSure = 0.3
	// leastProof is what a second look can give at least.
	leastProof = -1

	// The second look is at a crop with a face of proofFace pixels a side and
	// an edge of proofEdge about it.
	proofFace = 120
	proofEdge = 60
)

// prove looks at a face once more, enlarged or shrunk to a good size and set
// upright by its own landmarks. It says whether a face is found there, and its
// score.
func (d *Detector) prove(read lumaReader, size image.Point, f frame) (float64, bool, error) {
	pts, err := d.place(read, size, f)
	if err != nil {
		return 0, false, err
	}
	g := fitFrame(pts)
	if wild(f, g) {
		return 0, false, nil
	}
	return d.scanner.proof(read, size, g)
}

// proof scans the crop of a frame that is set about a face's landmarks.
func (s *Scanner) proof(read lumaReader, size image.Point, pose frame) (float64, bool, error) {
	crop := cropFrame(read, size, pose, proofFace, proofEdge)
	hits, err := s.Scan(crop.pixels(), false, leastProof)
	if err != nil {
		return 0, false, err
	}
	want := image.Rect(proofEdge, proofEdge, proofEdge+proofFace, proofEdge+proofFace)
	for _, h := range hits {
		if same(h.Box, want) {
			return h.Score, true, nil
		}
	}
	return 0, false, nil
}

// wild says that landmarks put a face at a size that the detector's box can't
// have: they are none.
func wild(box, pose frame) bool {
	r := pose.side() / box.side()
	return !(r > 0.6 && r < 1.6)
}
