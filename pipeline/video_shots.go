package pipeline

import (
	"image"
	"slices"

	"restored/media"
)

const (
	// maxMoments bounds the pictures of a track from which its shots are taken.
	maxMoments = 64
	// shotsOfTrack is how many pictures stand for a track.
	shotsOfTrack = 3
)

// A Shot is a moment at which a track's face is seen, for showing it before and
// after. Left, Top, Width and Height are parts of the picture as it is shown.
type Shot struct {
	At     float64 `json:"at"` // seconds from the first picture
	Left   float64 `json:"left"`
	Top    float64 `json:"top"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
}

// moments are evenly spread pictures of a track, of which only the number is
// known at its end.
type moments struct {
	kept  []moment
	every int // how many pictures there are from one to the next
	seen  int
}

type moment struct {
	pts int64
	box image.Rectangle // in square pixels, not turned
}

func (m *moments) add(pts int64, box image.Rectangle) {
	if m.every == 0 {
		m.every = 1
	}
	if m.seen%m.every == 0 {
		m.kept = append(m.kept, moment{pts, box})
	}
	m.seen++
	if len(m.kept) > maxMoments {
		for i := range (len(m.kept) + 1) / 2 {
			m.kept[i] = m.kept[2*i]
		}
		m.kept = m.kept[:(len(m.kept)+1)/2]
		m.every *= 2
	}
}

// shots are the moments at a quarter, the half and three quarters.
func (m *moments) shots(p *Plan) []Shot {
	stream := p.Video.Stream()
	g := newGeometry(stream.Picture)
	if g.width < 1 || g.height < 1 || stream.TimeBase.Den == 0 {
		return nil // a report can't hold what isn't a number
	}
	var at []int
	for i := range shotsOfTrack {
		at = append(at, len(m.kept)*(i+1)/(shotsOfTrack+1))
	}
	var shots []Shot
	for _, i := range slices.Compact(at) {
		if i < len(m.kept) {
			s := shown(m.kept[i].box, g, stream.Picture)
			s.At = stream.TimeBase.Seconds(m.kept[i].pts - p.Index.First)
			shots = append(shots, s)
		}
	}
	return shots
}

// shown places a box in the picture as players show it: turned and mirrored.
func shown(box image.Rectangle, g geometry, f *media.PictureFormat) Shot {
	box = box.Intersect(image.Rect(0, 0, g.width, g.height))
	w, h := float64(g.width), float64(g.height)
	left, top := float64(box.Min.X)/w, float64(box.Min.Y)/h
	width, height := float64(box.Dx())/w, float64(box.Dy())/h
	if f.Flip {
		left = 1 - left - width
	}
	switch f.Rotation {
	case 90:
		left, top, width, height = 1-top-height, left, height, width
	case 180:
		left, top = 1-left-width, 1-top-height
	case 270:
		left, top, width, height = top, 1-left-width, height, width
	}
	return Shot{Left: left, Top: top, Width: width, Height: height}
}
