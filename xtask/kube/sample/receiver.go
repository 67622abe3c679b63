package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"sync"
)

// receiver remembers spans. GET /spans answers a line for each: `key=value` pairs between tabs, those of the resource and
// those of the span, with `kind` and `name`. DELETE /spans forgets them.
type receiver struct {
	mutex sync.Mutex
	lines []string
}

type keyValue struct {
	Key   string                     `json:"key"`
	Value map[string]json.RawMessage `json:"value"`
}

type request struct {
	ResourceSpans []struct {
		Resource struct {
			Attributes []keyValue `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []struct {
			Spans []struct {
				Name       string     `json:"name"`
				Kind       int        `json:"kind"`
				Attributes []keyValue `json:"attributes"`
			} `json:"spans"`
		} `json:"scopeSpans"`
	} `json:"resourceSpans"`
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	switch {
	case q.Method == http.MethodPost && q.URL.Path == "/v1/traces":
		if err := r.take(q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answerJSON(w)
	case q.Method == http.MethodPost && q.URL.Path == "/v1/metrics":
		answerJSON(w)
	case q.URL.Path == "/spans":
		r.mutex.Lock()
		defer r.mutex.Unlock()
		if q.Method == http.MethodDelete {
			r.lines = nil
			return
		}
		for _, line := range r.lines {
			fmt.Fprintln(w, line)
		}
	case q.URL.Path == "/":
		fmt.Fprintln(w, "ok")
	default:
		http.NotFound(w, q)
	}
}

func answerJSON(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, "{}")
}

func (r *receiver) take(q *http.Request) error {
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(q.Body)
		if err != nil {
			return err
		}
		body = unzipped
	}
	var sent request
	if err := json.NewDecoder(body).Decode(&sent); err != nil {
		return err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, group := range sent.ResourceSpans {
		resource := pairs(group.Resource.Attributes)
		for _, scope := range group.ScopeSpans {
			for _, span := range scope.Spans {
				fields := append(pairs(span.Attributes), resource...)
				fields = append(fields, fmt.Sprintf("kind=%d", span.Kind), "name="+escape(span.Name))
				sort.Strings(fields)
				r.lines = append(r.lines, strings.Join(fields, "\t"))
			}
		}
	}
	return nil
}

func pairs(attributes []keyValue) []string {
	var out []string
	for _, attribute := range attributes {
		for _, raw := range attribute.Value {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			out = append(out, attribute.Key+"="+escape(text))
		}
	}
	return out
}

func escape(text string) string {
	return strings.NewReplacer("\t", " ", "\n", " ").Replace(text)
}
