package daemon

import (
	"encoding/json"
	"image/color"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// described is the document that the page serves.
func described(t *testing.T, s *pageSite) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(s.want(200, "GET", "/openapi.json", nil)))
	if err == nil {
		err = doc.Validate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// The document has the routes of the handlers, and no others.
func TestOpenAPIRoutes(t *testing.T) {
	doc := described(t, newPageSite(t, &proc{}, nil))
	var have, want []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			have = append(have, method+" "+path)
		}
	}
	route := regexp.MustCompile(`HandleFunc\("([A-Z]+ /v1/[^"]+)"`)
	for _, file := range []string{"control_socket.go", "web/web.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range route.FindAllStringSubmatch(string(source), -1) {
			want = append(want, m[1])
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) || len(want) < 14 {
		t.Errorf("described %q\nhandled   %q", have, want)
	}
}

// What the handlers answer is what the document says, without a field more.
func TestOpenAPIAnswers(t *testing.T) {
	s := newPageSite(t, processorFunc(copyPhoto), nil)
	doc := described(t, s)
	path := s.put("a.jpg", string(somePNG(t, color.Black)))
	s.done("a.jpg")
	for _, c := range []struct {
		method, route, path string
		code                int
		body                string
	}{
		{"GET", "/v1/about", "/v1/about", 200, ""},
		{"GET", "/v1/queue", "/v1/queue", 200, ""},
		{"GET", "/v1/workers", "/v1/workers", 200, ""},
		{"POST", "/v1/queue/pause", "/v1/queue/pause", 200, ""},
		{"POST", "/v1/folders/{folder}/files", s.uploadPath("b.jpg"), 201, "x"},
		{"POST", "/v1/folders/{folder}/files", s.uploadPath("b.jpg"), 409, "x"},
		{"GET", "/v1/jobs", "/v1/jobs?limit=1", 200, ""},
		{"GET", "/v1/jobs", "/v1/jobs?state=lost", 400, ""},
		{"GET", "/v1/jobs/find", "/v1/jobs/find?path=" + url.QueryEscape(path), 200, ""},
		{"GET", "/v1/jobs/{id}", "/v1/jobs/1", 200, ""},
		{"GET", "/v1/jobs/{id}", "/v1/jobs/99", 404, ""},
		{"POST", "/v1/jobs/{id}/retry", "/v1/jobs/1/retry", 409, ""},
		{"POST", "/v1/jobs/{id}/retry", "/v1/jobs/2/retry", 200, ""},
		{"POST", "/v1/jobs/{id}/cancel", "/v1/jobs/2/cancel", 200, ""},
		{"GET", "/v1/jobs/{id}/picture/{side}", "/v1/jobs/1/picture/now", 404, ""},
		{"GET", "/v1/jobs/{id}/thumbnail", "/v1/jobs/1/thumbnail", 415, ""},
		{"GET", "/v1/jobs/{id}/shot/{shot}/{side}", "/v1/jobs/1/shot/0/before", 404, ""},
		{"POST", "/v1/session", "/v1/session", 401, ""},
		{"POST", "/v1/queue/resume", "/v1/queue/resume", 200, ""},
	} {
		if strings.HasPrefix(c.path, "/v1/jobs/2/") {
			wait(t, "b.jpg", func() bool { _, text := s.do("GET", "/v1/jobs/2", nil); return strings.Contains(text, "b.jpg") })
		}
		text := s.want(c.code, c.method, c.path, strings.NewReader(c.body))
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Errorf("%s %s: %q: %v", c.method, c.path, text, err)
			continue
		}
		responses := doc.Paths.Find(c.route).GetOperation(c.method).Responses
		response := responses.Status(c.code)
		if response == nil && c.code >= http.StatusBadRequest {
			response = responses.Default()
		}
		if response == nil {
			t.Errorf("%s %s: no answer %d is described", c.method, c.route, c.code)
			continue
		}
		if err := response.Value.Content.Get("application/json").Schema.Value.VisitJSON(value); err != nil {
			t.Errorf("%s %s: %v", c.method, filepath.Base(c.route), err)
		}
	}
	event := Event{Queue: QueueInfo{Done: 1}, Work: []Work{{1, "/a.mp4", "render", 1, 2, 3, 4, 5, 6, 7}}}
	data, err := json.Marshal(event)
	var value any
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err == nil {
		err = doc.Components.Schemas["Event"].Value.VisitJSON(value)
	}
	if err != nil {
		t.Errorf("event: %v", err)
	}
	data, err = json.Marshal(WorkerList{[]WorkerInfo{{Role: "worker", Queues: []string{"photo_1"}, Differs: true}}})
	value = nil
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err == nil {
		err = doc.Components.Schemas["WorkerList"].Value.VisitJSON(value)
	}
	if err != nil {
		t.Errorf("workers: %v", err)
	}
}
