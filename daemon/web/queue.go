package web

import (
	"net/http"
	"strings"
)

// QueuePrefix is where River's own page for operators is.
const QueuePrefix = "/queue"

// queuePolicy is policy with what River's page needs besides: styles that its
// scripts set.
const queuePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// queue serves River's page. A browser without a session is sent to ours, which
// asks for the token.
//
// To cancel or delete a job there is refused: River knows jobs and not files,
// and a file whose job has gone would wait for nothing.
func (s *Server) queue() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok, tired := s.admitted(r)
		if !ok && !tired && strings.Contains(r.Header.Get("Accept"), "text/html") {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		switch {
		case tired:
			refuseTries(w)
			return
		case !ok:
			refuseToken(w)
			return
		}
		switch r.URL.Path {
		case QueuePrefix + "/api/jobs/cancel", QueuePrefix + "/api/jobs/delete":
			refuseQueue(w, "cancel the file on the daemon's page, or by `restored jobs cancel`")
			return
		}
		w.Header().Set("Content-Security-Policy", queuePolicy)
		s.opt.Queue.ServeHTTP(w, r)
	})
}

// refuseQueue answers as River's own API does.
func refuseQueue(w http.ResponseWriter, why string) {
	send(w, http.StatusConflict, map[string]string{"message": why})
}
