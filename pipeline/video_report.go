package pipeline

// A VideoTrack is one face through consecutive pictures of a video, and what was
// decided about it.
type VideoTrack struct {
	ID           int      `json:"id"`
	Person       int      `json:"person"` // the id of the first track that is the same person's
	From         float64  `json:"from"`   // seconds from the first picture
	To           float64  `json:"to"`
	Frames       int64    `json:"frames"`
	Size         int      `json:"size"` // median shorter side of its box, in pixels
	Score        float64  `json:"score"`
	Degradation  float64  `json:"degradation"` // median octaves, see Face
	Steps        int      `json:"steps"`
	Identity     *float64 `json:"identity,omitempty"` // medians of the samples, see Face
	IdentityFull *float64 `json:"identity_full,omitempty"`
	Blend        float64  `json:"blend"`
	Decision     Decision `json:"decision"`
	Shots        []Shot   `json:"shots,omitempty"` // at most three, spread over the track
	Seed         uint64   `json:"seed"`            // of the diffusion's noise and of the grain
}

// A VideoReport is what a Report says of a video beside what it says of photos.
type VideoReport struct {
	Frames    int64        `json:"frames"`
	Duration  float64      `json:"duration"` // seconds
	Segments  int          `json:"segments"`
	Encoder   string       `json:"encoder"`
	Container string       `json:"container"`
	Corrupt   int64        `json:"corrupt"`           // packets and pictures that were skipped
	Partial   string       `json:"partial,omitempty"` // why the file ends too early, if it does
	Tracks    []VideoTrack `json:"tracks"`
	Millis    VideoMillis  `json:"ms"`
}

// VideoMillis are milliseconds spent in the stages, summed over segments that run
// side by side: decode and track in both passes; sample (close looks in pass
// 1), align, model, paste and encode.
type VideoMillis struct {
	Decode float64 `json:"decode"`
	Track  float64 `json:"track"`
	Sample float64 `json:"sample"`
	Align  float64 `json:"align"`
	Model  float64 `json:"model"`
	Paste  float64 `json:"paste"`
	Encode float64 `json:"encode"`
	Join   float64 `json:"join"`
}

func (m *VideoMillis) add(o VideoMillis) {
	m.Decode += o.Decode
	m.Track += o.Track
	m.Sample += o.Sample
	m.Align += o.Align
	m.Model += o.Model
	m.Paste += o.Paste
	m.Encode += o.Encode
	m.Join += o.Join
}
