package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"restored/pipeline"
)

// Every decision that a report can have is a label, and a label of its own.
func TestTallyKnowsDecisions(t *testing.T) {
	source, err := os.ReadFile("../../pipeline/report.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Face\w+ +Decision = "([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	var labels []string
	for _, m := range found {
		label := decisions[pipeline.Decision(m[1])]
		if label == "" || slices.Contains(labels, label) {
			t.Errorf("%q has the label %q", m[1], label)
		}
		labels = append(labels, label)
	}
	if len(found) != len(decisions) || len(found) < 8 {
		t.Errorf("%d decisions, %d labels", len(found), len(decisions))
	}
}

func TestTally(t *testing.T) {
	photo := tallyOf(pipeline.Report{
		Status: pipeline.Restored, Millis: pipeline.Millis{Decode: 500, Model: 2000, Total: 9000},
		Faces: []pipeline.Face{{Decision: pipeline.FaceRestored}, {Decision: pipeline.FaceSharp}, {Decision: pipeline.FaceSharp}},
	})
	if photo.Result != "restored" || photo.Faces["restored"] != 1 || photo.Faces["sharp"] != 2 || len(photo.Seconds) != 2 || photo.Seconds["decode"] != 0.5 {
		t.Errorf("photo: %+v", photo)
	}
	video := tallyOf(pipeline.Report{Status: pipeline.Copied, Video: &pipeline.VideoReport{
		Tracks: []pipeline.VideoTrack{{Decision: pipeline.FaceBrief}}, Millis: pipeline.VideoMillis{Join: 250},
	}})
	if video.Result != "copied" || video.Faces["brief"] != 1 || video.Seconds["join"] != 0.25 || len(video.Seconds) != 1 {
		t.Errorf("video: %+v", video)
	}
}
