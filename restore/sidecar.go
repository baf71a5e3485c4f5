package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// A Sidecar is what NAME.json says of the model NAME.onnx beside it: the Spec
// of a file that doesn't carry its own, and what its user has accepted. Where
// Size is 0 only the name, the family, the licence and the checksum count, and
// the rest is told from the file's inputs.
type Sidecar struct {
	Spec
	Terms    string    `json:"terms,omitempty"` // what must be accepted before the model is used
	Accepted time.Time `json:"licence_accepted,omitzero"`
}

// maxSidecar is the size of the largest sidecar that is read.
const maxSidecar = 1 << 20

// SidecarPath is where the sidecar of a model's file lies.
func SidecarPath(model string) string { return strings.TrimSuffix(model, ".onnx") + ".json" }

// readSidecar reads the sidecar of a model's file; without one it is empty.
func readSidecar(model string) (Sidecar, error) {
	path := SidecarPath(model)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Sidecar{}, nil
	}
	if err != nil {
		return Sidecar{}, fmt.Errorf("what is known of the model: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSidecar+1))
	if err != nil {
		return Sidecar{}, fmt.Errorf("read %s: %w", path, err)
	}
	s, err := ParseSidecar(data)
	if err != nil {
		return Sidecar{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ParseSidecar decodes and checks a sidecar.
func ParseSidecar(data []byte) (Sidecar, error) {
	if len(data) > maxSidecar {
		return Sidecar{}, fmt.Errorf("larger than %d bytes", maxSidecar)
	}
	var s Sidecar
	if err := json.Unmarshal(data, &s); err != nil {
		return Sidecar{}, fmt.Errorf("not what describes a model: %w", err)
	}
	if s.Size != 0 {
		if err := s.validate(); err != nil {
			return Sidecar{}, err
		}
	}
	return s, nil
}

// A LicenceError reports a model whose terms nobody has accepted here.
type LicenceError struct{ Model, Licence, Terms string }

func (e *LicenceError) Error() string {
	return fmt.Sprintf("the licence of %s (%s) hasn't been accepted here. %s If you accept it: `restored models add --accept-licence FILE.onnx`, or `restored models pull --accept-licence NAME`",
		e.Model, e.Licence, e.Terms)
}

// checkLicence refuses a model with terms that weren't accepted: those of its
// sidecar or, by its checksum, of the registry.
func checkLicence(m Model) error {
	if !m.side.Accepted.IsZero() {
		return nil
	}
	if m.side.Terms != "" {
		return &LicenceError{m.Name, m.side.Licence, m.side.Terms}
	}
	if e, ok := knownHash(m.SHA256); ok && e.Terms != "" {
		return &LicenceError{m.Name, e.Licence, e.Terms}
	}
	return nil
}
