// Ask AI Gateway from Go (1.18 or newer), with the standard library alone.
//
//	go run client.go                        a short tour
//	go run client.go query "Why is the sky blue?"
//	go run client.go stream "Why is the sky blue?"
//	go run client.go rag FILE "What does it say about refunds?"
//	go run client.go health
//
// AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
// The answer goes to standard output; who gave it, and what went wrong, to standard error.
// Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut ("go run" makes 1 of both, "go build" does not).
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	usage    = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]"
	deadline = 240           // seconds the gateway may take, all tiers together: a cold local model needs minutes
	patience = deadline + 15 // seconds we wait: the gateway answers or explains itself by its deadline
)

var (
	base  = strings.TrimRight(or(os.Getenv("AI_GATEWAY_URL"), "http://127.0.0.1:8000"), "/")
	token = strings.TrimSpace(os.Getenv("AI_GATEWAY_TOKEN"))
	// Go never asks a proxy for what runs on this machine.
	client = http.Client{Timeout: patience * time.Second}
)

type (
	wrongUsage string // says what is wrong with the call
	noAnswer   string // there is no answer, or half of one: says why, and what to do
	fields     map[string]any
)

func (e wrongUsage) Error() string { return string(e) }
func (e noAnswer) Error() string   { return string(e) }

// message is whatever the gateway says: a reply, an event of a stream, or an application/problem+json.
type message struct {
	Response, State               string
	Backend, Text, Reason, Action string
	Title, Code, Detail, Cure     string
	Attempts                      []struct{ Backend, Outcome, Reason string }
	Details                       struct {
		FinishReason string `json:"finish_reason"`
		Segments     []struct{ Backend string }
		Sources      []struct {
			N, Start, End int
			Document      string
			Cited         bool
		}
	}
}

func query(prompt string) error {
	return tell("/ai/query", fields{"prompt": prompt})
}

func rag(document fields, question string) error {
	return tell("/ai/query/rag", fields{"prompt": question, "documents": []fields{document}})
}

func tell(path string, body fields) error {
	var reply message
	if err := ask(path, body, &reply); err != nil {
		return err
	}
	fmt.Println(reply.Response)
	for _, source := range reply.Details.Sources {
		if source.Cited {
			fmt.Printf("[%d] %s, characters %d to %d\n", source.N, source.Document, source.Start, source.End)
		}
	}
	note(reply.answeredBy())
	return nil
}

func health() error {
	var told struct {
		Status           string
		CopilotAvailable bool   `json:"copilot_available"`
		CloudAvailable   bool   `json:"cloud_available"`
		LocalAvailable   bool   `json:"local_available"`
		CircuitState     string `json:"circuit_state"`
	}
	if err := ask("/health", nil, &told); err != nil {
		return err
	}
	fmt.Printf("status: %s\ncopilot_available: %t\ncloud_available: %t\nlocal_available: %t\ncircuit_state: %s\n",
		told.Status, told.CopilotAvailable, told.CloudAvailable, told.LocalAvailable, told.CircuitState)
	return nil
}

// stream shows the answer as it grows. Only `done` makes it whole: a stream that just ends was cut.
func stream(prompt string) error {
	body, err := send("/ai/query", fields{"prompt": prompt, "stream": true}, "text/event-stream")
	if err != nil {
		return err
	}
	defer body.Close()
	lines, writer := bufio.NewReader(body), ""
	for {
		name, event, err := next(lines)
		if err != nil {
			return noAnswer("\nThe answer was cut: the stream ended without its end mark.\n" +
				"Cure: ask again; the text above is not whole")
		}
		switch name {
		case "meta":
			writer = event.Backend
		case "delta":
			fmt.Print(event.Text)
		case "segment":
			brokeOff := fmt.Sprintf("\n[%s broke off (%s): ", writer, event.Reason)
			writer = event.Backend
			if event.Action == "restart" { // what was shown is void, and standard output has to say so
				fmt.Printf("%sdiscard the text above, %s starts anew]\n", brokeOff, writer)
			} else {
				note(fmt.Sprintf("%s%s goes on]", brokeOff, writer))
			}
		case "error":
			return noAnswer("\n" + event.explained())
		case "done":
			fmt.Println()
			note(event.answeredBy())
			return nil
		}
	}
}

// next reads one server-sent event. An empty line ends it; a line that begins with ":" is a comment.
func next(lines *bufio.Reader) (name string, event message, err error) {
	for data := ""; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return "", event, err
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		switch {
		case field == "event":
			name = strings.TrimSpace(value)
		case field == "data":
			data += value
		case line == "" && data != "":
			err = json.Unmarshal([]byte(data), &event)
			return name, event, err
		}
	}
}

func ask(path string, body fields, into any) error {
	answer, err := send(path, body, "application/json")
	if err != nil {
		return err
	}
	defer answer.Close()
	return read(answer, into)
}

func read(body io.Reader, into any) error {
	if json.NewDecoder(body).Decode(into) != nil {
		return nobody()
	}
	return nil
}

// send gives the open reply, or a noAnswer.
func send(path string, body fields, mediaType string) (io.ReadCloser, error) {
	method, data := "GET", []byte(nil)
	if body != nil {
		body["details"], body["deadline_s"] = true, deadline
		method = "POST"
		data, _ = json.Marshal(body)
	}
	request, err := http.NewRequest(method, base+path, bytes.NewReader(data))
	if err != nil {
		return nil, nobody()
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nobody()
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if response.StatusCode == 200 && kind == mediaType {
		return response.Body, nil
	}
	defer response.Body.Close()
	if kind == "application/problem+json" {
		var problem message
		if err := read(response.Body, &problem); err != nil {
			return nil, err
		}
		return nil, noAnswer(problem.explained())
	}
	return nil, noAnswer("What answers at " + base + " is not AI Gateway. Set AI_GATEWAY_URL to where it runs.")
}

func nobody() error {
	return noAnswer("No answer from " + base +
		`. Is the gateway running? Start it with "ai-gateway serve", or set AI_GATEWAY_URL.`)
}

// explained says what happened, at which tier, and what helps.
func (m message) explained() string {
	lines := []string{fmt.Sprintf("%s (%s)", m.Title, m.Code), m.Detail}
	for _, tier := range m.Attempts {
		lines = append(lines, fmt.Sprintf("  %s %s: %s", tier.Backend, tier.Outcome, or(tier.Reason, "-")))
	}
	if m.Cure != "" {
		lines = append(lines, "Cure: "+m.Cure)
	}
	return strings.Join(lines, "\n")
}

func (m message) answeredBy() string {
	var writers []string
	for _, segment := range m.Details.Segments {
		writers = append(writers, segment.Backend)
	}
	// The finishes "length" and "content_filter" are answers cut short.
	return fmt.Sprintf("[answered by %s; finish: %s; Copilot's circuit: %s]",
		strings.Join(writers, ", then "), m.Details.FinishReason, m.State)
}

func note(text string) { fmt.Fprintln(os.Stderr, text) }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// documentOf takes any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes.
func documentOf(file string) (fields, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, wrongUsage("Cannot read " + file)
	}
	return fields{"name": filepath.Base(file), "content_base64": content}, nil // []byte becomes base64
}

func tour() error {
	policy := fields{"name": "policy.txt", "text": "Customers may return items within 30 days. Later there are no refunds."}
	fmt.Println("== health ==")
	err := health()
	if err == nil {
		fmt.Println("\n== query ==")
		err = query("Why is the sky blue? Answer in one sentence.")
	}
	if err == nil {
		fmt.Println("\n== rag ==")
		err = rag(policy, "How long may customers return items?")
	}
	if err == nil {
		fmt.Println("\n== stream ==")
		err = stream("Tell me about lighthouses in two sentences.")
	}
	return err
}

func run(given []string) error {
	if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
		return wrongUsage("AI_GATEWAY_URL has to begin with http:// or https://")
	}
	if len(given) == 0 {
		return tour()
	}
	switch fmt.Sprintf("%s %d", given[0], len(given)) {
	case "health 1":
		return health()
	case "query 2":
		return query(given[1])
	case "stream 2":
		return stream(given[1])
	case "rag 3":
		document, err := documentOf(given[1])
		if err != nil {
			return err
		}
		return rag(document, given[2])
	}
	return wrongUsage(usage)
}

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	note(err.Error())
	var wrong wrongUsage
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	os.Exit(3)
}
