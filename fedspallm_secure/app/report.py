def write_report(path, result):
    path.write_text("todo")
