package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"restored/pipeline"
)

// What a report says survives being written and read: scripts, the ledger and
// the page read it.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"input":"a.jpg","status":"restored","width":10,"height":20,"faces":[{"box":{"x":1,"y":2,"width":3,"height":4},"identity":0.2,"decision":"restored"}],"ms":{"total":1.5}}`))
	f.Add([]byte(`{"faces":null,"notes":["\u0000","\ud800"],"ms":{"total":1e308}}`))
	f.Add([]byte(`{"status":"failed"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first pipeline.Report
		if json.Unmarshal(data, &first) != nil {
			return
		}
		once, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		var second pipeline.Report
		if err := json.Unmarshal(once, &second); err != nil {
			t.Fatalf("%s isn't read back: %v", once, err)
		}
		twice, err := json.Marshal(second)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
		for _, face := range second.Faces {
			_ = face.ModelRan()
		}
	})
}

// What is printed on a terminal can't steer it, whatever a file is called.
func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2Jb")
	f.Add("a\nb\u202ec\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if r < ' ' || r == 0x7f || r == 0x9b || r == 0x202e {
				t.Fatalf("%q gives %q", s, printable(s))
			}
		}
	})
}
