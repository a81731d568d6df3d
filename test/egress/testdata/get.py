# Gets a URL with the standard library or with requests, set up by the environment alone, and prints the page.
# get.py urllib|requests URL
import sys
import urllib.request

if sys.argv[1] == "urllib":
    print(urllib.request.urlopen(sys.argv[2], timeout=20).read().decode())
else:
    import requests

    answer = requests.get(sys.argv[2], timeout=20)
    answer.raise_for_status()
    print(answer.text)
