// A client of NinjaOne by net/http alone.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const host = "https://eu.ninjarmm.com"

var token string

func call(method, path, kind string, body io.Reader) (int, []byte) {
	request, err := http.NewRequest(method, host+path, body)
	check(err)
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	} else {
		request.SetBasicAuth("made-up-id", "made-up-secret-5f3a")
	}
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	check(err)
	return answer.StatusCode, data
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func read(path string, into any) {
	status, data := call("GET", path, "", nil)
	if status != 200 {
		check(fmt.Errorf("%s: %d %s", path, status, data))
	}
	check(json.Unmarshal(data, into))
}

type row struct {
	ID int `json:"id"`
}

func main() {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"monitoring management"}}
	_, data := call("POST", "/ws/oauth/token", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	var granted struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	check(json.Unmarshal(data, &granted))
	token = granted.Token
	fmt.Println("token", granted.Type)
	var organizations, devices []row
	read("/v2/organizations", &organizations)
	fmt.Println("list", len(organizations))
	for after := 0; ; {
		var page []row
		read(fmt.Sprintf("/v2/devices?pageSize=25&after=%d", after), &page)
		if len(page) == 0 {
			break
		}
		devices = append(devices, page...)
		after = page[len(page)-1].ID
	}
	fmt.Println("paging", len(devices))
	var body bytes.Buffer
	upload := multipart.NewWriter(&body)
	part, err := upload.CreateFormFile("files", "notes.txt")
	check(err)
	fmt.Fprint(part, strings.Repeat("notes ", 1000))
	check(upload.Close())
	status, _ := call("POST", "/v2/attachments/temp/upload", upload.FormDataContentType(), &body)
	fmt.Println("upload", status)
	_, data = call("GET", "/v2/attachment/7?size=300000", "", nil)
	fmt.Println("download", len(data))
	status, _ = call("PATCH", "/v2/device/7/custom-fields", "application/json", strings.NewReader(`{"note":"changed"}`))
	fmt.Println("write", status)
	status, data = call("POST", "/v2/device/7/reboot/NORMAL", "application/json", strings.NewReader("{}"))
	var problem struct {
		Code string `json:"resultCode"`
	}
	check(json.Unmarshal(data, &problem))
	fmt.Println("refusal", status, problem.Code)
}
