package daemon

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// Who tries too many tokens isn't listened to for a while, with the right one
// either; a session goes on.
func TestTokenTries(t *testing.T) {
	s := newPageSite(t, &proc{}, func(s *site) { s.cfg.HTTP.Token = testToken })
	right := "Authorization: Bearer " + testToken
	resp, _ := s.do("POST", "/v1/session", strings.NewReader("token="+testToken), "Content-Type: application/x-www-form-urlencoded")
	if len(resp.cookies) != 1 {
		t.Fatalf("login: %d", resp.code)
	}
	for i := range 20 { // as many as may come at once, and some
		path := []string{"/v1/queue", "/metrics", "/queue/api/jobs"}[i%3]
		if resp, _ := s.do("GET", path, nil, "Authorization: Bearer wrong"); resp.code == http.StatusTooManyRequests {
			break
		}
	}
	for _, path := range []string{"/v1/queue", "/metrics", "/queue/api/jobs"} {
		resp, _ := s.do("GET", path, nil, right)
		if resp.code != http.StatusTooManyRequests || resp.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d", path, resp.code)
		}
	}
	s.want(http.StatusTooManyRequests, "POST", "/v1/session", strings.NewReader("token="+testToken), "Content-Type: application/x-www-form-urlencoded")
	s.want(200, "GET", "/v1/queue", nil, "Cookie: restored="+resp.cookies[0].Value)
}

// River's page is there for operators, behind the same guard, and can't take a
// file's job away from it.
func TestQueuePage(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	s := newPageSite(t, &proc{before: func(context.Context, Job) error { <-block; return nil }}, nil)
	s.put("a.jpg", "x")
	wait(t, "the photo", func() bool { return strings.Contains(s.want(200, "GET", "/v1/queue", nil), `"running":1`) })
	if text := s.want(200, "GET", "/queue/", nil, "Accept: text/html"); !strings.Contains(text, "/queue/assets/") {
		t.Errorf("the page is %s", text)
	}
	if text := s.want(200, "GET", "/queue/api/jobs?state=running&limit=10", nil); !strings.Contains(text, "a.jpg") {
		t.Errorf("jobs: %s", text)
	}
	s.want(200, "GET", "/queue/api/queues?limit=10", nil)
	s.want(200, "GET", "/queue/api/states", nil)
	for _, what := range []string{"cancel", "delete"} {
		s.want(http.StatusConflict, "POST", "/queue/api/jobs/"+what, strings.NewReader(`{"ids":["1"]}`))
	}
	for _, h := range []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example"} {
		s.want(http.StatusForbidden, "PUT", "/queue/api/queues/default/pause", nil, h)
		s.want(http.StatusForbidden, "POST", "/queue/api/jobs/retry", strings.NewReader(`{"ids":["1"]}`), h)
	}
	s.want(http.StatusMisdirectedRequest, "GET", "/queue/", nil, "Host: evil.example")
	s.want(200, "PUT", "/queue/api/queues/default/pause", nil, "Origin: "+s.base)
	if !strings.Contains(s.want(200, "GET", "/v1/queue", nil), `"paused":true`) {
		t.Error("the queue isn't paused")
	}
	if resp, _ := s.do("GET", "/", nil); strings.Contains(resp.header.Get("Content-Security-Policy"), "unsafe") {
		t.Error("River's styles are allowed elsewhere")
	}
}
