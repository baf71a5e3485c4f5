package main

import (
	"restored/daemon"
	"restored/pipeline"
)

// decisions are the labels that the metrics have for what was decided about a
// face.
var decisions = map[pipeline.Decision]string{
	pipeline.FaceRestored:   "restored",
	pipeline.FaceSmall:      "small",
	pipeline.FaceUnsure:     "unsure",
	pipeline.FaceSharp:      "sharp",
	pipeline.FaceIdentity:   "identity",
	pipeline.FaceUnverified: "unverified",
	pipeline.FaceLandmarks:  "landmarks",
	pipeline.FaceBrief:      "brief",
}

// tallyOf is what the metrics count of a report: the faces of a photo, the
// tracks of a video.
func tallyOf(r pipeline.Report) daemon.Tally {
	t := daemon.Tally{Result: string(r.Status), Faces: map[string]int{}}
	for _, f := range r.Faces {
		t.Faces[decisions[f.Decision]]++
	}
	ms := map[string]float64{
		"decode": r.Millis.Decode, "detect": r.Millis.Detect, "landmarks": r.Millis.Landmarks, "align": r.Millis.Align,
		"model": r.Millis.Model, "identity": r.Millis.Identity, "paste": r.Millis.Paste, "encode": r.Millis.Encode,
	}
	if r.Video != nil {
		for _, track := range r.Video.Tracks {
			t.Faces[decisions[track.Decision]]++
		}
		v := r.Video.Millis
		ms = map[string]float64{
			"decode": v.Decode, "track": v.Track, "sample": v.Sample, "align": v.Align,
			"model": v.Model, "paste": v.Paste, "encode": v.Encode, "join": v.Join,
		}
	}
	t.Seconds = map[string]float64{}
	for stage, n := range ms {
		if n > 0 {
			t.Seconds[stage] = n / 1000
		}
	}
	return t
}

// children tells the metrics of the processes that work.
func (e *confined) children() daemon.Children {
	s := e.pool.Stats()
	return daemon.Children{Idle: s.Idle, Busy: s.Busy, Started: s.Started, Crashed: s.Crashed, Memory: s.Memory}
}
