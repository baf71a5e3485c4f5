package pipeline

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"

	"restored/detect"
	"restored/media"
)

// An analysis is what pass 1 found in a segment and a little around it: the
// overlap in which the tracks of two segments are recognised as the same.
type analysis struct {
	Version int
	PTS     []int64 // of every picture, ascending
	From    int     // index of the segment's first own picture
	To      int     // index after its last own one
	Tracks  []track
	Counts  media.ReadCounts
	Millis  VideoMillis
}

// A track is a face through consecutive pictures.
type track struct {
	First   int // index of its first picture
	Frames  []detect.TrackFrame
	Score   float64
	FromCut bool // it begins with its shot, see detect.Track
	ToCut   bool
	Samples []sample
}

// end is the index after the track's last picture.
func (t *track) end() int { return t.First + len(t.Frames) }

// box is the place of the face in picture i, which the track must hold.
func (t *track) frame(i int) *detect.TrackFrame { return &t.Frames[i-t.First] }

// A sample is one look at a track's face: how degraded it is, and what
// restoring does to its identity.
type sample struct {
	Octaves      float64
	Verdict      Decision // of this picture alone
	Blend        float64
	Identity     *float64
	IdentityFull *float64
	Known        bool // Descriptor is one
	Descriptor   [128]float32
}

// maxAnalysis bounds the file of an analysis once it is unpacked: some 30
// faces through ten minutes.
const maxAnalysis = 256 << 20

func (a *analysis) save(path string) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := gob.NewEncoder(z).Encode(a)
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("analysis: %w", err)
	}
	return writeWhole(path, b.Bytes())
}

func loadAnalysis(path string) (*analysis, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("analysis: %w", err)
	}
	defer f.Close()
	a, err := readAnalysis(f)
	if err != nil {
		return nil, fmt.Errorf("analysis %s: %w", path, err)
	}
	return a, nil
}

// readAnalysis decodes and checks an analysis.
func readAnalysis(r io.Reader) (*analysis, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var a analysis
	if err := gob.NewDecoder(io.LimitReader(z, maxAnalysis)).Decode(&a); err != nil {
		return nil, err
	}
	return &a, a.check()
}

func (a *analysis) check() error {
	n := len(a.PTS)
	switch {
	case a.Version != planVersion:
		return fmt.Errorf("version %d, this one knows %d", a.Version, planVersion)
	case a.From < 0 || a.From > a.To || a.To > n:
		return fmt.Errorf("own pictures %d to %d of %d", a.From, a.To, n)
	}
	for i := 1; i < n; i++ {
		if a.PTS[i] <= a.PTS[i-1] {
			return fmt.Errorf("timestamp %d follows %d", a.PTS[i], a.PTS[i-1])
		}
	}
	for i := range a.Tracks {
		if t := &a.Tracks[i]; t.First < 0 || t.First > n || len(t.Frames) == 0 || len(t.Frames) > n-t.First {
			return fmt.Errorf("track %d of %d pictures from %d doesn't fit %d", i, len(t.Frames), t.First, n)
		}
	}
	return nil
}
