# Mounts, and then asks the kernel to read the objects ahead: 8 threads, in the order of the paths in the image.
# Arguments: the list of the objects, their directory, the command that mounts.
import os, subprocess, sys, threading

subprocess.run(sys.argv[3:], check=True)
if os.fork() == 0:
    names, lock = iter(open(sys.argv[1]).read().split()), threading.Lock()
    def work():
        while True:
            with lock: name = next(names, None)
            if name is None: return
            file = os.open(f"{sys.argv[2]}/{name}", os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            os.close(file)
    for _ in range(8): threading.Thread(target=work).start()
