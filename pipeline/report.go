package pipeline

import "image"

// Status says what became of a file.
type Status string

// The statuses of a Report.
const (
	Restored Status = "restored" // at least one face was restored
	Copied   Status = "copied"   // nothing to restore: the output is a byte-identical copy
	Skipped  Status = "skipped"  // nothing to restore: no output was written
)

// Decision says what became of a face.
type Decision string

// The decisions about a face.
const (
	FaceRestored   Decision = "restored"
	FaceSmall      Decision = "left: smaller than the least face"
	FaceUnsure     Decision = "left: below the detection threshold"
	FaceSharp      Decision = "left: already sharp"
	FaceIdentity   Decision = "left: would look like somebody else"
	FaceUnverified Decision = "left: identity can't be checked"
	FaceLandmarks  Decision = "left: landmarks don't form a face"
	FaceBrief      Decision = "left: seen in too few pictures of the video"
)

// A Report says what was found in one file and what was done about it.
type Report struct {
	Input     string   `json:"input"`
	Output    string   `json:"output,omitempty"`
	Status    Status   `json:"status"`
	Format    string   `json:"format"`
	Width     int      `json:"width"`  // upright, pixels
	Height    int      `json:"height"` // upright, pixels
	Depth     int      `json:"depth"`  // bits a sample
	Model     string   `json:"model"`
	ModelHash string   `json:"model_sha256"`
	Provider  string   `json:"provider"`
	Notes     []string `json:"notes,omitempty"`
	Faces     []Face   `json:"faces"`
	Millis    Millis   `json:"ms"`

	Video *VideoReport `json:"video,omitempty"` // nil: a photo
}

// A Face is what was found and decided about one face.
type Face struct {
	Box         Rect    `json:"box"`  // upright pixels
	Size        int     `json:"size"` // shorter side of the box
	Score       float64 `json:"score"`
	Angle       float64 `json:"angle"`       // degrees by which the face leans clockwise
	Degradation float64 `json:"degradation"` // log2 of the equivalent loss of resolution; 0 is sharp
	Steps       int     `json:"steps"`       // of the diffusion
	// Identity is the distance of dlib's descriptors between the face before and
	// after, as it was blended; IdentityFull that at the configured blend. Below
	// 0.6 dlib takes two faces for one person. Nil: not checked, or no face found.
	Identity     *float64 `json:"identity,omitempty"`
	IdentityFull *float64 `json:"identity_full,omitempty"`
	Blend        float64  `json:"blend"` // 0: left as it was
	// Changed is the rectangle outside of which this face changed nothing.
	Changed  *Rect    `json:"changed,omitempty"`
	Decision Decision `json:"decision"`
}

// A Rect is a rectangle of upright pixels; X and Y are its left and top edge.
type Rect struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

func rectOf(r image.Rectangle) Rect { return Rect{r.Min.X, r.Min.Y, r.Dx(), r.Dy()} }

// Millis are milliseconds spent in each stage, summed over the faces.
type Millis struct {
	Decode    float64 `json:"decode"`
	Detect    float64 `json:"detect"`
	Landmarks float64 `json:"landmarks"`
	Align     float64 `json:"align"`
	Model     float64 `json:"model"`
	Identity  float64 `json:"identity"`
	Paste     float64 `json:"paste"`
	Encode    float64 `json:"encode"`
	Total     float64 `json:"total"`
}

// ModelRan says whether the face went through the model, whatever became of
// the result.
func (f Face) ModelRan() bool {
	return f.Decision == FaceRestored || f.Decision == FaceIdentity || f.Decision == FaceUnverified
}
